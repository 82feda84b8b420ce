"use strict";
(function () {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const PAPER_WIDTH = 670; // CSS pixels of an A4 page between its margins
  const PAPER_HEIGHT = 940; // and of its height, with the figure's caption
  let onPaper = false;

  // Figures are drawn without colours of text and ground; these follow the reader's.
  function theme() {
    const isDark = dark.matches && !onPaper;
    const ink = isDark ? "#e6e8ec" : "#1b1e23", line = isDark ? "#383e48" : "#dfe3e9", paper = isDark ? "#15181d" : "#ffffff";
    return { ink, line, paper };
  }

  function merged(a, b) {
    const found = Object.assign({}, a);
    for (const key of Object.keys(b)) {
      const both = typeof found[key] === "object" && typeof b[key] === "object" && found[key] && !Array.isArray(b[key]);
      found[key] = both ? merged(found[key], b[key]) : b[key];
    }
    return found;
  }

  function layout(plot) {
    const { ink, line, paper } = theme();
    const found = merged({
      font: { color: ink, size: onPaper ? 11 : 13, family: "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif" },
      paper_bgcolor: paper, plot_bgcolor: paper, margin: { l: 70, r: 20, t: 20, b: 60 }, hovermode: "closest",
      hoverlabel: { align: "left" }, legend: { bgcolor: "rgba(0,0,0,0)" }, width: onPaper ? PAPER_WIDTH : undefined,
    }, plot.layout);
    // Figures with a line a row keep their rows, as long as they fit on one page; of the others two fit.
    const hasRows = Boolean((plot.layout.yaxis || {}).tickvals);
    if (onPaper) found.height = Math.min(found.height, hasRows ? PAPER_HEIGHT : 330);
    for (const name of Object.keys(found).filter((key) => /^[xy]axis/.test(key))) {
      found[name] = merged({ gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true }, found[name]);
    }
    return found;
  }

  function draw(id) {
    // plotly writes into what it is given
    const plot = JSON.parse(JSON.stringify(plots[id]));
    const place = document.getElementById(id);
    const name = place.dataset.name;
    return Plotly.react(place, plot.data, layout(plot), {
      displaylogo: false, responsive: !onPaper, showTips: false,
      toImageButtonOptions: { format: "png", filename: name, scale: 2 },
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    });
  }

  function drawAll() {
    return Promise.all(Object.keys(plots).map(draw));
  }

  drawAll().then(() => document.documentElement.setAttribute("data-drawn", "yes"));
  dark.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => { onPaper = true; drawAll(); });
  window.addEventListener("afterprint", () => { onPaper = false; drawAll(); });
  for (const button of document.querySelectorAll("button[data-of]")) {
    button.addEventListener("click", () => {
      const place = document.getElementById(button.dataset.of);
      Plotly.downloadImage(place, {
        format: button.dataset.format, filename: place.dataset.name, scale: button.dataset.format === "png" ? 2 : 1,
        width: place.clientWidth, height: place.clientHeight,
      });
    });
  }
})();
