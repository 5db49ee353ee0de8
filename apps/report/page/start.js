// Draws the figures of the report into their places.

const kFigures = {
  treemap: (figure, host) => treemapFigure(figure, host),
  curve: (figure, host) => curveFigure(figure, host),
  diagram: (figure, host) => diagramFigure(figure, host),
};

// A fault is said on the page: nobody looks at a console.
window.addEventListener("error", (event) => {
  document.body.dataset.fault = event.message;
  document.body.prepend(element("p", {class: "no"}, "this page has a fault: " + event.message));
});

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table").forEach(sortable);
  const figures = JSON.parse(document.getElementById("figures").textContent);
  for (const host of document.querySelectorAll("figure[data-figure]")) {
    const figure = figures[Number(host.dataset.figure)];
    kFigures[figure.kind](figure, host);
  }
  document.body.dataset.figures = figures.length;
});
