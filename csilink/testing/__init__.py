"""What csilink asks of plug-ins, as functions for the tests of whoever writes one.

    from csilink.testing import check_feedback_scheme, check_precoder

    def test_my_scheme():
        check_feedback_scheme(MyScheme, bits=6)

A check returns nothing and raises AssertionError with what is wrong. The contract tests of csilink call the same ones
on everything that is registered. Channels are plane waves from a seeded generator, so that a code for channels has a
codeword for them.
"""

from csilink.testing.channel import GEOMETRY, check_channel
from csilink.testing.coding import CODER_CHECKS, QUANTIZER_CHECKS, check_coder, check_quantizer
from csilink.testing.common import Part
from csilink.testing.estimator import (
    ESTIMATION_MODEL_CHECKS,
    ESTIMATOR_CHECKS,
    check_estimation_model,
    check_estimator,
)
from csilink.testing.feedback import CONFIG, FEEDBACK_CHECKS, check_feedback_scheme, plane_waves
from csilink.testing.importer import IMPORTER_CHECKS, check_importer
from csilink.testing.metric import METRIC_CHECKS, check_metric
from csilink.testing.model import check_model
from csilink.testing.precoder import PRECODER_CHECKS, check_precoder
from csilink.testing.prediction_model import PREDICTION_MODEL_CHECKS, check_prediction_model
from csilink.testing.predictor import PREDICTOR_CHECKS, check_predictor
from csilink.testing.refiner import REFINER_CHECKS, check_refiner
from csilink.testing.report_refiner import REPORT_REFINER_CHECKS, check_report_refiner
from csilink.testing.task import TASK_CHECKS, check_task

__all__ = [
    "CODER_CHECKS",
    "CONFIG",
    "ESTIMATION_MODEL_CHECKS",
    "ESTIMATOR_CHECKS",
    "FEEDBACK_CHECKS",
    "GEOMETRY",
    "IMPORTER_CHECKS",
    "METRIC_CHECKS",
    "PRECODER_CHECKS",
    "PREDICTION_MODEL_CHECKS",
    "PREDICTOR_CHECKS",
    "QUANTIZER_CHECKS",
    "REFINER_CHECKS",
    "REPORT_REFINER_CHECKS",
    "TASK_CHECKS",
    "Part",
    "check_channel",
    "check_coder",
    "check_estimation_model",
    "check_estimator",
    "check_feedback_scheme",
    "check_importer",
    "check_metric",
    "check_model",
    "check_precoder",
    "check_prediction_model",
    "check_predictor",
    "check_quantizer",
    "check_refiner",
    "check_report_refiner",
    "check_task",
    "plane_waves",
]
