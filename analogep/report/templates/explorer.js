"use strict";
// An interactive map of a sweep: a cell for each point, everything that was measured there on hover, focus or click.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  // viridis, and Color Brewer's RdBu with blue for what is positive: both are told apart with any color vision
  const SEQUENTIAL = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
  const DIVERGING = ["#8e1b2c", "#c6543f", "#ee9f7c", "#fbdcc9", "#f7f7f7", "#cfe3f0", "#8bbfdc", "#3f8ac0", "#1b4f8f"];
  const WORDS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#8a8f98"];
  const STATES = {
    done: ["no value", "blank"], unconverged: ["did not settle", "unsettled"], failed: ["failed", "failed"],
    invalid: ["no valid spec", "blank"], missing: ["not measured", "blank"],
  };
  const PREFIXES = ["f", "p", "n", "µ", "m", "", "k", "M", "G"];
  const SI = new Set(["s", "J", "V", "S", "F", "W", "A", "Hz"]);
  const UNITS = { "1": "", "1/tau": "1/τ", "cycles/tau": "cycles/τ", "tau": "τ", "m^2": "m²", "g0": "g₀" };

  const make = (tag, attributes = {}, text = null) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    return element;
  };
  const draw = (tag, attributes = {}, text = null) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    return element;
  };
  const label = (name) => name.replaceAll("_", " ");
  const digits = (value, count) => String(Number(value.toPrecision(count))).replace("e+", "e").replaceAll("-", "−");
  const withUnit = (value, unit, count = 6) => {
    if (value === null) return "–";
    if (typeof value === "string") return value === "Infinity" ? "∞" : "−∞";
    const size = Math.abs(value);
    if (SI.has(unit) && size >= 1e-15 && size < 1e12) {
      const step = Math.min(3, Math.floor(Math.log10(size) / 3 + 1e-12));
      return `${digits(value / 10 ** (3 * step), count)} ${PREFIXES[step + 5]}${unit}`;
    }
    const shown = UNITS[unit] ?? unit;
    return digits(value, count) + (shown && ` ${shown}`);
  };
  const mixed = (stops, x) => {
    const at = Math.min(Math.max(x, 0), 1) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    const parts = [1, 3, 5].map((i) => {
      const [a, b] = [stops[k], stops[k + 1]].map((stop) => parseInt(stop.slice(i, i + 2), 16));
      return Math.round(a + (b - a) * (at - k));
    });
    return `rgb(${parts.join(",")})`;
  };
  const number = (value) => (typeof value === "string" ? (value === "Infinity" ? Infinity : -Infinity) : value);
  const place = (scale, value) => scale.kind === "log"
    ? Math.log(value / scale.low) / Math.log(scale.high / scale.low)
    : (value - scale.low) / (scale.high - scale.low);
  const color = (quantity, value) => {
    const scale = quantity.scale;
    if (scale.kind === "words") return WORDS[value % WORDS.length];
    return mixed(scale.kind === "diverging" ? DIVERGING : SEQUENTIAL, place(scale, number(value)));
  };
  const shown = (quantity, value) => quantity.words.length && typeof value === "number"
    ? label(quantity.words[value] ?? String(value)) : withUnit(value, quantity.unit);

  function explorer(root) {
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const [stage, reading] = [root.querySelector(".stage"), root.querySelector(".reading")];
    const [controls, legend] = [root.querySelector(".controls"), root.querySelector(".legend")];
    const sizes = data.axes.map((axis) => axis.values.length);
    const strides = sizes.map((_, k) => sizes.slice(k + 1).reduce((a, b) => a * b, 1));
    const [across, up] = [data.axes[data.across], data.axes[data.up]];
    const [columns, rows] = [across.values.length, up.values.length];
    const margin = data.quantities.find((quantity) => quantity.name === "margin");
    const fixed = sizes.map(() => 0);
    const at = { column: 0, row: 0, pinned: false };
    let quantity = data.quantities[0];
    let cells = [];

    const index = (column, row) => fixed.reduce((sum, k, axis) =>
      sum + strides[axis] * (axis === data.across ? column : axis === data.up ? row : k), 0);
    const coordinate = (axis, k) => {
      const value = axis.values[k];
      return typeof value === "number" ? withUnit(value, axis.unit, 4) : value;
    };
    const named = (axis) => axis.name + (UNITS[axis.unit] ?? axis.unit ? ` (${UNITS[axis.unit] ?? axis.unit})` : "");

    function choice(text, options, chosen) {
      const box = make("label", {}, text);
      const select = make("select", { "data-choice": text });
      options.forEach((option, k) => select.append(make("option", { value: k }, option)));
      select.addEventListener("change", () => { chosen(Number(select.value)); render(); read(); });
      box.append(select);
      controls.append(box);
    }

    function read() {
      const point = index(at.column, at.row);
      const where = data.axes.map((axis, k) =>
        `${axis.name} = ${coordinate(axis, k === data.across ? at.column : k === data.up ? at.row : fixed[k])}`);
      const status = data.status[point];
      const heading = make("p", { class: "where" }, where.join(", "));
      const state = make("p", { class: "state" }, status === "done" ? "measured" : (STATES[status] ?? [status])[0]);
      if (data.error[point]) state.textContent += `: ${data.error[point]}`;
      const table = make("table");
      const body = make("tbody");
      for (const one of [quantity, ...data.quantities.filter((other) => other !== quantity)]) {
        const value = one.values[point];
        if (value === null && one !== quantity) continue;
        const row = make("tr", one === quantity ? { class: "chosen" } : {});
        row.append(make("th", { scope: "row" }, label(one.name)));
        row.append(make("td", { "data-quantity": one.name, "data-value": value === null ? "" : value }, shown(one, value)));
        body.append(row);
      }
      table.append(body);
      const pin = make("button", { type: "button", class: "pin", "aria-pressed": at.pinned }, at.pinned ? "Pinned – release" : "Pin");
      pin.addEventListener("click", () => { at.pinned = !at.pinned; mark(); read(); });
      reading.replaceChildren(heading, state, pin, table);
    }

    function mark() {
      cells.flat().forEach((cell) => cell.classList.remove("at", "pinned"));
      const cell = cells[at.row][at.column];
      cell.classList.add("at");
      cell.classList.toggle("pinned", at.pinned);
      cells.flat().forEach((other) => other.setAttribute("tabindex", other === cell ? "0" : "-1"));
      const ring = stage.querySelector(".ring");
      for (const key of ["x", "y", "width", "height"]) ring.setAttribute(key, cell.getAttribute(key));
      ring.classList.toggle("pinned", at.pinned);
    }

    function go(column, row, pinned = at.pinned) {
      Object.assign(at, { column, row, pinned });
      mark();
      read();
    }

    const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    function pressed(event) {
      const move = MOVES[event.key];
      if (move) {
        const column = Math.min(Math.max(at.column + move[0], 0), columns - 1);
        const row = Math.min(Math.max(at.row + move[1], 0), rows - 1);
        go(column, row, false);
        cells[row][column].focus();
      } else if (event.key === "Home" || event.key === "End") {
        go(event.key === "Home" ? 0 : columns - 1, at.row, false);
        cells[at.row][at.column].focus();
      } else if (event.key === "Enter" || event.key === " ") go(at.column, at.row, !at.pinned);
      else if (event.key === "Escape") go(at.column, at.row, false);
      else return;
      event.preventDefault();
    }

    const [left, right, top, bottom, width] = [66, 12, 10, 52, 640];
    const high = Math.min(460, Math.max(140, rows * 46));
    const [w, h] = [(width - left - right) / columns, high / rows];
    const corner = (column, row) => [left + column * w, top + (rows - 1 - row) * h];

    function render() {
      const svg = draw("svg", { viewBox: `0 0 ${width} ${top + high + bottom}`, class: "map" });
      svg.append(patterns());
      const grid = draw("g", { role: "grid", "aria-label": `${label(quantity.name)} over ${across.name} and ${up.name}` });
      cells = up.values.map((_, row) => {
        const line = draw("g", { role: "row" });
        const made = across.values.map((_, column) => cell(column, row));
        line.append(...made);
        grid.append(line);
        return made;
      });
      svg.append(grid, edge(), ...ticks(), draw("rect", { class: "ring" }));
      stage.replaceChildren(svg);
      legend.replaceChildren(...key());
      mark();
    }

    function cell(column, row) {
      const point = index(column, row);
      const value = quantity.values[point];
      const [x, y] = corner(column, row);
      const state = STATES[data.status[point]] ?? STATES.missing;
      const said = value === null ? state[0] : `${label(quantity.name)} ${shown(quantity, value)}`;
      const rect = draw("rect", {
        role: "gridcell", x, y, width: w, height: h, tabindex: -1,
        fill: value === null ? `url(#${root.id}-${state[1]})` : color(quantity, value),
        "data-column": column, "data-row": row, "data-status": data.status[point],
        "aria-label": `${across.name} ${coordinate(across, column)}, ${up.name} ${coordinate(up, row)}: ${said}`,
      });
      rect.addEventListener("pointerenter", () => { if (!at.pinned) go(column, row); });
      rect.addEventListener("focus", () => { if (!at.pinned) go(column, row); });
      rect.addEventListener("click", () => {
        const again = at.pinned && at.column === column && at.row === row;
        go(column, row, !again);
        rect.focus();
      });
      return rect;
    }

    function patterns() {
      const defs = draw("defs");
      for (const [name, lines] of [["unsettled", ["M0 8 L8 0"]], ["failed", ["M0 8 L8 0", "M0 0 L8 8"]], ["blank", []]]) {
        const pattern = draw("pattern", { id: `${root.id}-${name}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" });
        pattern.append(draw("rect", { width: 8, height: 8, class: `ground ${name}` }));
        for (const d of lines) pattern.append(draw("path", { d, class: `hatch ${name}` }));
        defs.append(pattern);
      }
      return defs;
    }

    // where a margin changes its sign between neighbors: the edge of what is feasible
    function edge() {
      const path = [];
      const inside = (column, row) => {
        const value = margin.values[index(column, row)];
        return value !== null && number(value) >= 0;
      };
      for (let row = 0; margin && row < rows; row += 1) {
        for (let column = 0; column < columns; column += 1) {
          const [x, y] = corner(column, row);
          if (column + 1 < columns && inside(column, row) !== inside(column + 1, row)) path.push(`M${x + w} ${y} v${h}`);
          if (row + 1 < rows && inside(column, row) !== inside(column, row + 1)) path.push(`M${x} ${y} h${w}`);
        }
      }
      const group = draw("g", { "aria-hidden": "true", class: "edges" });
      if (path.length) group.append(draw("path", { d: path.join(" "), class: "edge halo" }), draw("path", { d: path.join(" "), class: "edge" }));
      return group;
    }

    function ticks() {
      const out = [];
      const [everyColumn, everyRow] = [Math.ceil(columns / 9), Math.ceil(rows / 12)];
      across.values.forEach((value, k) => {
        if (k % everyColumn === 0) out.push(draw("text", { x: left + (k + 0.5) * w, y: top + high + 17, "text-anchor": "middle" }, tick(value)));
      });
      up.values.forEach((value, k) => {
        if (k % everyRow === 0) out.push(draw("text", { x: left - 7, y: top + (rows - k - 0.5) * h + 4, "text-anchor": "end" }, tick(value)));
      });
      out.push(draw("text", { x: left + (columns * w) / 2, y: top + high + 40, "text-anchor": "middle", class: "name" }, named(across)));
      out.push(draw("text", { transform: `translate(14 ${top + high / 2}) rotate(-90)`, "text-anchor": "middle", class: "name" }, named(up)));
      out.forEach((text) => text.setAttribute("aria-hidden", "true"));
      return out;
    }
    const tick = (value) => (typeof value === "number" ? digits(value, 3) : value.length > 9 ? `${value.slice(0, 8)}…` : value);

    function key() {
      const points = cells.flat().map((rect) => index(Number(rect.dataset.column), Number(rect.dataset.row)));
      const out = [];
      if (quantity.scale.kind === "words") {
        const there = [...new Set(points.map((point) => quantity.values[point]).filter((value) => value !== null))].sort((a, b) => a - b);
        there.forEach((value) => out.push(entry(label(quantity.words[value] ?? String(value)), color(quantity, value))));
      } else out.push(bar());
      const states = new Set(points.filter((point) => quantity.values[point] === null).map((point) => data.status[point]));
      for (const state of states) {
        const [text, pattern] = STATES[state] ?? STATES.missing;
        out.push(entry(text, null, pattern));
      }
      if (stage.querySelector(".edge")) out.push(entry("edge of the feasible region", null, "edge"));
      return out;
    }

    function entry(text, fill, pattern = null) {
      const box = make("span", { class: "entry" });
      const svg = draw("svg", { width: 22, height: 14, "aria-hidden": "true" });
      if (pattern === "edge") svg.append(draw("path", { d: "M1 7 h20", class: "edge" }));
      else svg.append(draw("rect", { width: 22, height: 14, fill: fill ?? `url(#${root.id}-${pattern})` }));
      box.append(svg, text);
      return box;
    }

    function bar() {
      const scale = quantity.scale;
      const stops = scale.kind === "diverging" ? DIVERGING : SEQUENTIAL;
      const svg = draw("svg", { viewBox: "0 0 640 52", class: "bar", role: "img" });
      const gradient = draw("linearGradient", { id: `${root.id}-scale` });
      stops.forEach((stop, k) => gradient.append(draw("stop", { offset: k / (stops.length - 1), "stop-color": stop })));
      svg.append(gradient, draw("rect", { x: left, y: 2, width: width - left - right, height: 14, fill: `url(#${root.id}-scale)` }));
      const [low, high] = [scale.low, scale.high];
      const values = [0, 0.25, 0.5, 0.75, 1].map((x) => (scale.kind === "log" ? low * (high / low) ** x : low + (high - low) * x));
      const beyond = quantity.values.map(number).filter((value) => value !== null);
      values.forEach((value, k) => {
        const x = left + (k / 4) * (width - left - right);
        let text = withUnit(value, quantity.unit, 3);
        if (k === 0 && beyond.some((other) => other < low)) text = `≤ ${text}`;
        if (k === 4 && beyond.some((other) => other > high)) text = `≥ ${text}`;
        svg.append(draw("path", { d: `M${x} 16 v4`, class: "tick" }));
        svg.append(draw("text", { x: Math.min(x, width - 4), y: 33, "text-anchor": k === 4 ? "end" : "middle" }, text));
      });
      svg.append(draw("text", { x: left + (width - left - right) / 2, y: 49, "text-anchor": "middle", class: "name" }, label(quantity.name)));
      svg.setAttribute("aria-label", `scale of ${label(quantity.name)}: ${withUnit(low, quantity.unit, 3)} to ${withUnit(high, quantity.unit, 3)}`);
      return svg;
    }

    choice("quantity", data.quantities.map((one) => label(one.name)), (k) => { quantity = data.quantities[k]; });
    data.axes.forEach((axis, k) => {
      if (k !== data.across && k !== data.up) choice(axis.name, axis.values.map((_, j) => coordinate(axis, j)), (j) => { fixed[k] = j; });
    });
    stage.addEventListener("keydown", pressed);
    const best = (margin ?? { values: [] }).values.reduce((best, value, point, all) =>
      (value !== null && (best < 0 || number(value) > number(all[best])) ? point : best), -1);
    if (best >= 0) {
      data.axes.forEach((axis, k) => { fixed[k] = Math.floor(best / strides[k]) % sizes[k]; });
      Object.assign(at, { column: fixed[data.across], row: fixed[data.up] });
      root.querySelectorAll("select").forEach((select) => {
        const k = data.axes.findIndex((axis) => axis.name === select.dataset.choice);
        if (k >= 0) select.value = fixed[k];
      });
    }
    render();
    read();
    root.dataset.ready = "yes";
  }

  document.querySelectorAll(".explorer").forEach(explorer);
})();
