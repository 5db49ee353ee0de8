// Lines over a row of places. What is no number leaves a gap.

const kCurveColours = ["#1565c0", "#c4540a", "#2e7d32", "#7b1fa2"];

function curveFigure(figure, host) {
  const width = 1000, height = 190, left = 90, right = 8, top = 8, bottom = 6;
  const all = figure.series.flatMap((s) => s.values).filter((v) => v !== null);
  const low = all.reduce((a, b) => Math.min(a, b), 0), high = all.reduce((a, b) => Math.max(a, b), low + 1e-12);
  const count = figure.places.length;
  const x = (i) => left + (width - left - right) * (count > 1 ? i / (count - 1) : 0.5);
  const y = (v) => top + (height - top - bottom) * (1 - (v - low) / (high - low));
  const picture = drawing("svg", {viewBox: `0 0 ${width} ${height}`, width, height, class: "curve"});
  for (const tick of [low, (low + high) / 2, high])
    picture.append(drawing("line", {x1: left, x2: width - right, y1: y(tick), y2: y(tick), stroke: "#e3e6ea"}),
                   drawing("text", {x: left - 6, y: y(tick) + 4, "text-anchor": "end"}, withUnit(tick, figure.unit)));
  const legend = element("span", {class: "note"});
  figure.series.forEach((series, s) => {
    const colour = kCurveColours[s % kCurveColours.length];
    picture.append(drawing("path", {d: curvePath(series.values, x, y), fill: "none", stroke: colour, "stroke-width": 1.5}));
    if (figure.series.length > 1) {
      const word = element("span", {}, "■ " + series.label + "  ");
      word.style.color = colour;
      legend.append(word);
    }
  });
  const readout = element("span", {class: "note"});
  const mark = drawing("line", {x1: -9, x2: -9, y1: top, y2: height - bottom, stroke: "#8a93a1"});
  picture.append(mark);
  picture.addEventListener("mousemove", (event) => {
    const frame = picture.getBoundingClientRect(), at = (event.clientX - frame.left) * width / frame.width;
    const i = Math.min(count - 1, Math.max(0, Math.round((at - left) / (width - left - right) * (count - 1))));
    mark.setAttribute("x1", x(i));
    mark.setAttribute("x2", x(i));
    readout.textContent = figure.places[i] + ": " + figure.series.map((s) => withUnit(s.values[i], figure.unit)).join(", ");
  });
  host.append(element("figcaption", {}, figure.title),
              element("div", {class: "tools"}, saveButton(picture, "curve"), legend, readout), picture);
}

// A point that has gaps on both sides is a short line of its own.
function curvePath(values, x, y) {
  let path = "", drawn = false;
  values.forEach((value, i) => {
    if (value === null) {
      drawn = false;
      return;
    }
    path += drawn ? `L${x(i).toFixed(1)} ${y(value).toFixed(1)}` : `M${x(i).toFixed(1)} ${y(value).toFixed(1)}h0.1`;
    drawn = true;
  });
  return path;
}
