// Charts of report.html: values under the pointer, schemes on and off, logarithmic or linear, CSV of what is shown.
// Without a script the page keeps its static pictures.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const hidden = new Set(); // schemes that are switched off, in all charts
  const redraws = [];
  const [SCHEME, PRECODER, METRIC, COMBINATION, SNR, VALUE, CI95, BITS, BITS_CI95] = Array(9).keys();

  const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") node.addEventListener(name, value);
      else if (value !== null && value !== false) node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  const plain = (value) => (value === null ? "(none)" : typeof value === "number" ? String(+value.toPrecision(6)) : String(value));
  function withHalfWidth(value, ci95) {
    if (!(ci95 > 5e-7)) return String(+value.toPrecision(4));
    const decimals = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(ci95))));
    return `${value.toFixed(decimals)} ± ${ci95.toFixed(decimals)}`;
  }

  // ---- what a chart shows: panels of series of points

  function nearest(values, wanted) {
    return values.reduce((best, value) => (Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best), values[0]);
  }

  function panelsOf(recipe) {
    if (recipe.x === "rate") return panelsOfRates(recipe);
    const metric = data.metrics.findIndex(({ name }) => name === recipe.metric);
    let rows = data.rows.filter((row) => row[METRIC] === metric && recipe.combinations.includes(row[COMBINATION]));
    if (recipe.precoder !== undefined && recipe.precoder !== null)
      rows = rows.filter((row) => row[PRECODER] < 0 || row[PRECODER] === recipe.precoder);
    if (recipe.x !== "snr_db") {
      const snrs = [...new Set(rows.map((row) => row[SNR]).filter((snr) => snr !== null))];
      if (snrs.length) rows = rows.filter((row) => row[SNR] === null || row[SNR] === nearest(snrs, recipe.snr ?? 20));
    }
    const axis = data.axes.indexOf(recipe.x);
    const xOf = (row) => (recipe.x === "snr_db" ? row[SNR] : recipe.x === "bits" ? row[BITS] : data.combinations[row[COMBINATION]][axis]);
    const groups = new Map();
    for (const row of rows) {
      if (!Number.isFinite(xOf(row))) continue;
      const others = recipe.x === "bits" ? [] : data.axes.map((name, place) => [name, data.combinations[row[COMBINATION]][place]]);
      const named = others.filter(([name]) => name !== recipe.x && recipe.combinations.length > 1);
      const parts = [row[PRECODER] < 0 ? "" : data.precoders[row[PRECODER]], recipe.x === "snr_db" || row[SNR] === null ? "" : `SNR ${plain(row[SNR])} dB`];
      const title = [...parts, ...named.map(([name, value]) => `${name} = ${plain(value)}`)].filter(Boolean).join(", ");
      if (!groups.has(title)) groups.set(title, []);
      groups.get(title).push(row);
    }
    return [...groups].slice(0, 8).map(([title, members]) => {
      const series = data.schemes.map((scheme, index) => {
        const own = members.filter((row) => row[SCHEME] === index && row[VALUE] !== null);
        const level = scheme.reference && recipe.x === "bits";
        const points = own.map((row) => ({ x: xOf(row), y: row[VALUE], ci95: row[CI95] ?? 0, bits: row[BITS], xError: recipe.x === "bits" ? row[BITS_CI95] ?? 0 : 0 }));
        return { scheme: index, level, points: (level ? points.slice(0, 1) : points).sort((a, b) => a.x - b.x) };
      });
      return { title, series: series.filter(({ points }) => points.length) };
    });
  }

  function panelsOfRates(recipe) {
    const curves = data.cdf.filter((curve) => recipe.combinations.includes(curve.combination));
    const snrs = [...new Set(curves.map(({ snr }) => snr))];
    const shown = curves.filter(({ snr }) => snr === nearest(snrs, recipe.snr ?? 20));
    return [...new Set(shown.map(({ precoder }) => precoder))].map((precoder) => ({
      title: `${data.precoders[precoder] ?? ""}, SNR ${plain(nearest(snrs, recipe.snr ?? 20))} dB`,
      series: shown.filter((curve) => curve.precoder === precoder).map((curve) => ({
        scheme: curve.scheme, level: false, bare: true,
        points: curve.x.map((x, i) => ({ x, y: curve.y[i], ci95: 0, bits: null, xError: 0 })),
      })),
    }));
  }

  // ---- axes

  function niceTicks(low, high, count) {
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 2.5, 5, 10].find((factor) => raw <= factor * power * 1.0001);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(+(k * step).toPrecision(12));
    return ticks;
  }
  function linear(low, high, from, to, count) {
    const scale = (v) => from + ((v - low) / (high - low || 1)) * (to - from);
    return Object.assign(scale, { ticks: niceTicks(low, high, count) });
  }
  function logarithmic(low, high, from, to) {
    const scale = (v) => from + ((Math.log10(v) - Math.log10(low)) / (Math.log10(high / low) || 1)) * (to - from);
    const factors = high / low < 12 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : high / low < 200 ? [1, 2, 5] : [1], ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1e-9; power++)
      for (const factor of factors) {
        const tick = +(factor * 10 ** power).toPrecision(3);
        if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
      }
    return Object.assign(scale, { ticks });
  }
  function logarithmicWithZero(smallest, high, from, to) { // decades above a linear strip that holds zero
    const strip = 0.12 * (to - from), upper = logarithmic(smallest, high, from + strip, to);
    const scale = (v) => (v <= smallest ? from + (Math.max(v, 0) / smallest) * strip : upper(v));
    return Object.assign(scale, { ticks: [0, ...upper.ticks.filter((tick) => tick > smallest * 1.001 || upper.ticks.length < 3)] });
  }

  function yScale(recipe, series, height, top) {
    const compared = series.filter(({ scheme }) => !data.schemes[scheme].reference);
    const all = (list) => list.flatMap(({ points }) => points.flatMap((p) => [p.y - p.ci95, p.y + p.ci95]));
    const own = all(compared.length ? compared : series), metric = data.metrics.find(({ name }) => name === recipe.metric);
    let low = Math.min(...own), high = Math.max(...own);
    const beyond = Math.max(...all(series)); // the reference may be seen, but does not stretch the axis
    if (beyond > high && beyond - high < 0.5 * (high - (recipe.fromZero ? 0 : low) || 1)) high = beyond;
    if (recipe.x === "rate") [low, high] = [0, 1];
    if (recipe.logY) {
      const positive = series.flatMap(({ points }) => points.map((p) => p.y)).filter((y) => y > 0);
      const smallest = Math.min(0.1 * (metric?.share ? 1 : high), ...positive);
      if (metric?.share) return logarithmicWithZero(10 ** Math.floor(Math.log10(smallest)), 1, height, top);
      return logarithmic(Math.min(...positive) / 1.05, high * 1.05, height, top);
    }
    if (recipe.fromZero || metric?.share) low = Math.min(0, low);
    if (metric?.share) [low, high] = [0, Math.min(1, high)];
    const pad = 0.05 * (high - low || Math.abs(high) || 1);
    return linear(low < 0 || !(recipe.fromZero || metric?.share || recipe.x === "rate") ? low - pad : 0, recipe.x === "rate" ? 1 : high + pad, height, top, 6);
  }
  function xScale(recipe, series, left, right) {
    const values = series.filter(({ level }) => !level).flatMap(({ points }) => points.map((p) => p.x));
    const low = Math.min(...values), high = Math.max(...values);
    if (recipe.logX && low > 0) return logarithmic(low / 1.12, high * 1.12, left, right);
    const pad = recipe.x === "rate" ? 0 : 0.03 * (high - low || Math.abs(high) || 1);
    return linear(recipe.x === "rate" ? 0 : low - pad, high + pad, left, right, Math.max(3, (right - left) / 70));
  }

  // ---- drawing

  const SIDES = { s: [4, 45], D: [4, 0], "^": [3, 0], v: [3, 180], p: [5, 0], h: [6, 0], P: [4, 45], X: [4, 0], "*": [3, 0] };
  function marker(shape, x, y, color) {
    if (!SIDES[shape]) return svg("circle", { cx: x, cy: y, r: 3.8, fill: color });
    const [sides, turn] = SIDES[shape];
    const at = (i) => [x + 5 * Math.sin((2 * Math.PI * i) / sides + (turn * Math.PI) / 180), y - 5 * Math.cos((2 * Math.PI * i) / sides + (turn * Math.PI) / 180)];
    const points = [...Array(sides).keys()].map((i) => at(i).map((v) => v.toFixed(1)).join(",")).join(" ");
    return svg("polygon", { points, fill: "PX*".includes(shape) ? "none" : color, stroke: color, "stroke-width": 1.5 });
  }
  const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

  function drawPanel(recipe, panel, width) {
    const height = Math.max(230, Math.min(360, width * 0.66)), box = { left: 58, right: width - 12, top: 26, bottom: height - 44 };
    const visible = panel.series.filter(({ scheme }) => !hidden.has(scheme));
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": panel.title });
    const clip = `clip${redraws.length}${Math.random().toString(36).slice(2)}`;
    picture.append(svg("clipPath", { id: clip }, svg("rect", { x: box.left - 6, y: box.top - 6, width: box.right - box.left + 12, height: box.bottom - box.top + 12 })));
    picture.append(svg("text", { x: box.left, y: 15, class: "title" }, panel.title));
    if (!visible.length) return { picture, targets: [] };
    const x = xScale(recipe, visible.some(({ level }) => !level) ? visible : panel.series, box.left, box.right);
    const y = yScale(recipe, visible, box.bottom, box.top);
    for (const tick of y.ticks)
      picture.append(svg("line", { x1: box.left, x2: box.right, y1: y(tick), y2: y(tick), class: "grid" }), svg("text", { x: box.left - 7, y: y(tick) + 4, "text-anchor": "end" }, plain(tick)));
    for (const tick of x.ticks)
      picture.append(svg("line", { x1: x(tick), x2: x(tick), y1: box.top, y2: box.bottom, class: "grid" }), svg("text", { x: x(tick), y: box.bottom + 17, "text-anchor": "middle" }, plain(tick)));
    picture.append(svg("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis" }), svg("line", { x1: box.left, x2: box.left, y1: box.top, y2: box.bottom, class: "axis" }));
    picture.append(svg("text", { x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, recipe.xLabel));
    picture.append(svg("text", { x: 0, y: 0, transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, recipe.yLabel));
    const above = (name, value) => picture.append(svg("text", { x: box.right, y: 15, "text-anchor": "end", class: "above" }, `${name}: ${plain(+value.toPrecision(4))} ↑`));
    const curves = svg("g", { "clip-path": `url(#${clip})`, class: "curves" }), targets = [];
    for (const { family, members } of families(visible)) {
      const color = data.schemes[members[Math.floor(members.length / 2)].scheme].color;
      const points = members.flatMap(({ points }) => points).sort((a, b) => a.x - b.x).map((p) => [x(p.x), y(p.y)]);
      curves.append(svg("path", { d: path(points), stroke: color, fill: "none", "stroke-width": 1, opacity: 0.7, "data-family": family }));
    }
    for (const { scheme, level, bare, points } of visible) {
      const look = data.schemes[scheme], color = look.reference ? "var(--text)" : look.color, name = look.name;
      if (level) {
        const p = points[0], line = y(p.y);
        curves.append(svg("line", { x1: box.left, x2: box.right, y1: line, y2: line, stroke: color, "stroke-width": 1.3, "stroke-dasharray": "6 4" }));
        targets.push({ x: box.right - 20, y: Math.max(line, box.top), text: tip(recipe, name, p, true) });
        if (line < box.top) above(name, p.y);
        continue;
      }
      const at = points.map((p) => [x(p.x), y(p.y)]);
      const single = points.length === 1;
      if (!single) {
        const known = recipe.logY ? points.filter((p) => p.ci95 < p.y) : points; // a logarithm has no room for the others
        if (known.some((p) => p.ci95 > 0)) {
          const band = [...known.map((p) => [x(p.x), y(p.y + p.ci95)]), ...known.map((p) => [x(p.x), y(p.y - p.ci95)]).reverse()];
          curves.append(svg("path", { d: `${path(band)}Z`, fill: color, opacity: 0.14 }));
        }
        curves.append(svg("path", { d: path(at), stroke: color, fill: "none", "stroke-width": 1.7, "stroke-dasharray": { "--": "6 4", "-.": "7 3 2 3", ":": "2 3" }[look.dash] ?? null }));
      }
      if (look.reference && at[at.length - 1][1] < box.top) above(name, points[points.length - 1].y);
      points.forEach((p, i) => {
        if (single) {
          curves.append(svg("line", { x1: at[i][0], x2: at[i][0], y1: y(p.y - p.ci95), y2: y(p.y + p.ci95), stroke: color }));
          if (p.xError) curves.append(svg("line", { x1: x(Math.max(p.x - p.xError, p.x / 2)), x2: x(p.x + p.xError), y1: at[i][1], y2: at[i][1], stroke: color }));
        }
        if (!bare && !look.reference) curves.append(marker(look.marker, ...at[i], color));
        if (at[i][1] > box.top - 6) targets.push({ x: at[i][0], y: at[i][1], text: tip(recipe, name, p, false) });
      });
    }
    picture.append(curves);
    return { picture, targets };
  }

  function families(visible) { // schemes of one point each: their rate is the axis, so that the family makes the line
    const found = new Map();
    for (const each of visible.filter(({ level, points }) => !level && points.length === 1)) {
      const { family } = data.schemes[each.scheme];
      if (!found.has(family)) found.set(family, []);
      found.get(family).push(each);
    }
    return [...found].filter(([, members]) => members.length > 1).map(([family, members]) => ({ family, members }));
  }

  function tip(recipe, name, point, level) {
    const where = level ? "" : `${recipe.xLabel}: ${plain(+point.x.toPrecision(5))}`;
    const bits = point.bits === null || recipe.x === "bits" && !level ? "" : `${plain(Math.round(point.bits * 10) / 10)} bits per report`;
    return [name, `${recipe.yLabel}: ${withHalfWidth(point.y, point.ci95)}`, where, bits].filter(Boolean);
  }

  const tooltip = html("div", { class: "tip", hidden: "" });
  document.body.append(tooltip);
  function follow(picture, targets, width) {
    const ring = svg("circle", { r: 8, class: "ring", visibility: "hidden" });
    picture.append(ring);
    const leave = () => { tooltip.hidden = true; ring.setAttribute("visibility", "hidden"); };
    picture.addEventListener("pointerleave", leave);
    picture.addEventListener("pointermove", (event) => {
      const frame = picture.getBoundingClientRect(), zoom = width / frame.width;
      const [x, y] = [(event.clientX - frame.left) * zoom, (event.clientY - frame.top) * zoom];
      const distance = (target) => Math.hypot(target.x - x, target.y - y);
      const best = targets.reduce((a, b) => (distance(b) < distance(a) ? b : a), targets[0]);
      if (!best || distance(best) > 60) return leave();
      ring.setAttribute("cx", best.x); ring.setAttribute("cy", best.y); ring.setAttribute("visibility", "visible");
      tooltip.replaceChildren(...best.text.map((line, i) => html(i ? "div" : "b", {}, line)));
      tooltip.hidden = false;
      const room = document.documentElement.clientWidth - tooltip.offsetWidth - 8;
      tooltip.style.left = `${Math.max(4, Math.min(event.clientX + 14, room)) + window.scrollX}px`;
      tooltip.style.top = `${event.clientY + 16 + window.scrollY}px`;
    });
  }

  function download(recipe, name) {
    const quote = (cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
    const lines = [["panel", "scheme", recipe.xLabel, recipe.yLabel, "ci95", "bits_mean"]];
    for (const panel of panelsOf(recipe))
      for (const { scheme, points } of panel.series.filter((each) => !hidden.has(each.scheme)))
        for (const p of points) lines.push([panel.title, data.schemes[scheme].name, p.x, p.y, p.ci95, p.bits ?? ""]);
    const text = lines.map((line) => line.map((cell) => quote(String(cell))).join(",")).join("\n") + "\n";
    const link = html("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function chart(place, recipe, name) {
    const panels = html("div", { class: "panels" }), legend = html("div", { class: "legend" }), tools = html("div", { class: "tools" });
    place.append(tools, panels, legend);
    const switchButton = (field, label) => {
      const button = html("button", { type: "button", click: () => { recipe[field] = !recipe[field]; redraw(); } }, label);
      return { button, show: (possible) => { button.hidden = !possible; button.setAttribute("aria-pressed", Boolean(recipe[field])); } };
    };
    const logX = switchButton("logX", "log x"), logY = switchButton("logY", "log y");
    tools.append(logX.button, logY.button, html("button", { type: "button", click: () => download(recipe, name) }, "CSV"));
    function redraw() {
      const found = panelsOf(recipe), all = found.flatMap(({ series }) => series);
      const values = all.flatMap(({ level, points }) => (level ? [] : points)), share = data.metrics.find((m) => m.name === recipe.metric)?.share;
      logX.show(recipe.x !== "rate" && values.every(({ x }) => x > 0) && values.length > 1);
      logY.show(recipe.x !== "rate" && (share || values.every(({ y }) => y > 0)));
      if (logX.button.hidden) recipe.logX = false;
      if (logY.button.hidden) recipe.logY = false;
      panels.replaceChildren(...found.map(() => html("div", { class: "panel" })));
      found.forEach((panel, i) => {
        const width = Math.max(280, Math.round(panels.children[i].clientWidth || 520));
        const { picture, targets } = drawPanel(recipe, panel, width);
        panels.children[i].append(picture);
        follow(picture, targets, width);
      });
      if (!found.length) panels.append(html("p", { class: "note" }, "No such numbers."));
      const known = [...new Set(all.map(({ scheme }) => scheme))].sort((a, b) => a - b);
      legend.replaceChildren(...known.map((scheme) => {
        const look = data.schemes[scheme], color = look.reference ? "var(--text)" : look.color;
        const mark = svg("svg", { width: 22, height: 12, "aria-hidden": "true" }, svg("line", { x1: 0, x2: 22, y1: 6, y2: 6, stroke: color, "stroke-width": 1.7, "stroke-dasharray": look.reference ? "6 4" : null }));
        if (!look.reference) mark.append(marker(look.marker, 11, 6, color));
        const toggle = () => { hidden.has(scheme) ? hidden.delete(scheme) : hidden.add(scheme); redraws.forEach((again) => again()); };
        return html("button", { type: "button", "aria-pressed": String(!hidden.has(scheme)), title: "show or hide in all figures", click: toggle }, mark, look.name);
      }));
    }
    redraws.push(redraw);
    redraw();
    return redraw;
  }

  // ---- the figures of the page, and one to choose

  for (const figure of document.querySelectorAll("figure[data-recipe]")) {
    for (const picture of figure.querySelectorAll("img")) picture.hidden = true;
    for (const recipe of JSON.parse(figure.dataset.recipe)) chart(figure, recipe, figure.dataset.name);
  }

  const explorer = document.getElementById("explorer");
  if (explorer && data.rows.length) {
    explorer.hidden = false;
    const snrs = [...new Set(data.rows.map((row) => row[SNR]).filter((snr) => snr !== null))].sort((a, b) => a - b);
    const labels = { snr_db: "SNR (dB)", bits: "Feedback (bits per report, mean)" };
    const axes = [...(snrs.length > 1 ? ["snr_db"] : []), "bits", ...data.axes.filter((_, i) => data.combinations.every((c) => typeof c[i] === "number"))];
    const recipe = { metric: data.metrics[0].name, x: axes[0], snr: nearest(snrs, 20) ?? null, combinations: [] };
    const choose = (label, options, change) => {
      const select = html("select", { change: () => { change(select.value); update(); } }, ...options.map(([value, text]) => html("option", { value }, text)));
      return html("label", {}, `${label} `, select);
    };
    const fixed = {}, controls = html("div", { class: "tools" });
    const metricChoice = choose("Metric", data.metrics.map(({ name, label }) => [name, label]), (value) => (recipe.metric = value));
    controls.append(metricChoice, choose("over", axes.map((name) => [name, labels[name] ?? name]), (value) => (recipe.x = value)));
    if (data.precoders.length > 1) controls.append(choose("Precoder", [["", "all"], ...data.precoders.map((name, i) => [i, name])], (value) => (recipe.precoder = value === "" ? null : +value)));
    const snrChoice = choose("SNR", snrs.map((snr) => [snr, `${snr} dB`]), (value) => (recipe.snr = +value));
    if (snrs.length > 1) { snrChoice.querySelector("select").value = recipe.snr; controls.append(snrChoice); }
    data.axes.forEach((name, place) => {
      const values = [...new Set(data.combinations.map((c) => c[place]))];
      fixed[name] = values[0];
      const choice = choose(name, values.map((value, i) => [i, plain(value)]), (i) => (fixed[name] = values[+i]));
      choice.dataset.axis = name;
      controls.append(choice);
    });
    const place = html("div");
    explorer.append(controls, place);
    let redraw = null;
    function update() {
      const metric = data.metrics.find(({ name }) => name === recipe.metric);
      const matches = (combination) => data.axes.every((name, i) => name === recipe.x || combination[i] === fixed[name]);
      recipe.combinations = [...data.combinations.keys()].filter((i) => matches(data.combinations[i]));
      Object.assign(recipe, { xLabel: labels[recipe.x] ?? recipe.x, yLabel: metric.label, fromZero: metric.fromZero, logY: metric.share, logX: recipe.x === "bits" });
      snrChoice.hidden = recipe.x === "snr_db";
      for (const choice of controls.querySelectorAll("[data-axis]")) choice.hidden = choice.dataset.axis === recipe.x;
      if (redraw) redraw(); else redraw = chart(place, recipe, "choice");
    }
    update();
  }

  let width = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth !== width) { width = document.documentElement.clientWidth; redraws.forEach((again) => again()); }
  });
})();
