"""Our channels against TR 38.901: tables typed from the standard, formulas in float64, statistics at 5 sigma."""
