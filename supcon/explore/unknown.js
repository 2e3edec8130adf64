// The threshold beyond which an image is called unknown.
const BINS = 80;
const JUST = 24;
const STEPS = 1000;  // of the slider
let range = 1, limit = 0;

function showUnknown(found) {
  const known = found.known.map(i => images.distance[i]).sort((a, b) => a - b);
  const others = found.others.map(i => images.distance[i]).sort((a, b) => a - b);
  const slider = byId("threshold");
  range = 1.05 * Math.max(...[known, others].map(sorted => sorted.at(-1) || 0), found.threshold || 0) || 1;
  limit = found.threshold === null ? range : found.threshold;
  slider.value = Math.round(STEPS * limit / range);
  const pen = fitted(byId("histogram"), () => drawHistogram(pen, known, others));
  const change = () => {
    drawHistogram(pen, known, others);
    tellShare(known, others);
    slider.setAttribute("aria-valuetext", limit.toFixed(4));
    showJust(found);
  };
  slider.addEventListener("input", () => { limit = range * slider.value / STEPS; change(); });
  change();
}

function beyond(sorted) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > limit) high = middle; else low = middle + 1;
  }
  return sorted.length - low;
}

function tellShare(known, others) {
  const parts = [[known, "held-out image", " of known classes"], [others, "image", " without a label"]];
  const told = parts.filter(([sorted]) => sorted.length).map(([sorted, what, of]) => {
    const n = beyond(sorted);
    return `${n.toLocaleString("en")} of ${count(sorted.length, what)}${of} (${percent(n / sorted.length)})`;
  });
  byId("beyond").textContent = `Beyond a distance of ${limit.toFixed(4)}: ${told.join(", ")}.`;
}

function drawHistogram(pen, known, others) {
  const canvas = byId("histogram"), width = canvas.clientWidth, height = canvas.clientHeight - 18;
  const bins = [known, others].map(sorted => {
    const found = new Array(BINS).fill(0);
    for (const far of sorted) found[Math.min(BINS - 1, Math.floor(BINS * far / range))] += 1;
    return found.map(n => n / Math.max(1, sorted.length));
  });
  const most = Math.max(...bins.flat()) || 1, side = width / BINS;
  pen.clearRect(0, 0, width, height + 18);
  for (const [found, colour] of [[bins[0], "#0072B2"], [bins[1], "#E69F00"]]) {
    pen.globalAlpha = 0.65;
    pen.fillStyle = colour;
    found.forEach((share, i) => pen.fillRect(i * side, height * (1 - share / most), side - 1, height * share / most));
  }
  pen.globalAlpha = 1;
  pen.fillStyle = variable("--quiet");
  pen.font = "12px system-ui, sans-serif";
  pen.fillText("0", 0, height + 14);
  pen.textAlign = "right";
  pen.fillText(range.toFixed(3), width, height + 14);
  pen.textAlign = "left";
  legendOf(pen, known, others, width);
  pen.fillStyle = variable("--ink");
  pen.fillRect(width * limit / range - 1, 0, 2, height);
}

function legendOf(pen, known, others, width) {
  const parts = [[known, "known classes", "#0072B2"], [others, "without a label", "#E69F00"]];
  parts.filter(([sorted]) => sorted.length).forEach(([, text, colour], row) => {
    pen.fillStyle = colour;
    pen.fillRect(width - 130, 8 + 18 * row, 10, 10);
    pen.fillStyle = variable("--quiet");
    pen.fillText(text, width - 114, 17 + 18 * row);
  });
}

function showJust(found) {
  const far = [...found.known, ...found.others].filter(i => images.distance[i] > limit);
  far.sort((a, b) => images.distance[a] - images.distance[b]);
  byId("just").replaceChildren(...far.slice(0, JUST).map(i => element("figure", {}, tile(i, pathOf(i)),
    element("figcaption", {title: pathOf(i)}, element("b", {}, nameOf(images.label[i])), element("br"),
      `distance ${images.distance[i].toFixed(4)}`))));
}
