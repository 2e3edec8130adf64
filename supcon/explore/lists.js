// Confusions and suspicious labels: lists of images.
const MATRIX = 40;  // classes beyond which pairs are listed instead
const PAIRS = 300;

function showConfusions(cells) {
  const place = byId("matrix");
  const used = [...new Set(cells.flatMap(cell => [cell.label, cell.predicted]))].sort((a, b) => a - b);
  place.append(used.length <= MATRIX ? matrix(cells, used) : pairs(cells));
}

function matrix(cells, used) {
  const found = new Map(cells.map(cell => [`${cell.label} ${cell.predicted}`, cell]));
  const head = element("tr", {}, element("th"), ...used.map(predicted =>
    element("th", {scope: "col", title: nameOf(predicted)}, element("span", {}, nameOf(predicted)))));
  head.append(element("th", {}, element("span", {}, "right")));
  const rows = used.map(label => {
    const own = cells.filter(cell => cell.label === label);
    const total = own.reduce((sum, cell) => sum + cell.n, 0);
    const row = element("tr", {}, element("th", {scope: "row", title: nameOf(label)}, nameOf(label)));
    for (const predicted of used) {
      const cell = found.get(`${label} ${predicted}`);
      row.append(element("td", {}, ...(cell ? [cellButton(cell, String(cell.n), cell.n / total)] : [])));
    }
    const right = found.get(`${label} ${label}`);
    row.append(element("td", {className: "n"}, total ? percent((right ? right.n : 0) / total) : ""));
    return row;
  });
  return element("table", {className: "matrix"}, element("thead", {}, head), element("tbody", {}, ...rows));
}

function pairs(cells) {
  const wrong = cells.filter(cell => cell.label !== cell.predicted).sort((a, b) => b.n - a.n);
  const total = new Map();
  for (const cell of cells) total.set(cell.label, (total.get(cell.label) || 0) + cell.n);
  const buttons = wrong.slice(0, PAIRS).map(cell => cellButton(
    cell, `${nameOf(cell.label)} → ${nameOf(cell.predicted)}: ${cell.n}`, cell.n / total.get(cell.label)));
  const box = element("div", {}, element("div", {className: "pairs"}, ...buttons));
  if (wrong.length > PAIRS) {
    const text = `The ${PAIRS} most frequent of ${wrong.length.toLocaleString("en")} confusions.`;
    box.append(element("p", {className: "quiet"}, text));
  }
  return box;
}

function cellButton(cell, text, share) {
  const title = `${nameOf(cell.label)} taken for ${nameOf(cell.predicted)}: ${count(cell.n, "image")}`;
  const button = element("button", {title}, text);
  const colour = cell.label === cell.predicted ? "#0072B2" : "#D55E00";
  button.style.background = `color-mix(in srgb, ${colour} ${Math.round(8 + 62 * share)}%, transparent)`;
  button.setAttribute("aria-label", title);
  button.addEventListener("click", () => {
    document.querySelectorAll("#matrix [aria-current]").forEach(b => b.removeAttribute("aria-current"));
    button.setAttribute("aria-current", "true");
    showCell(cell, title);
  });
  return button;
}

function showCell(cell, title) {
  const order = cell.label === cell.predicted ? "least sure" : "surest";
  const some = cell.n === 1 ? "" : cell.images.length < cell.n ? `, the ${cell.images.length} ${order}` : `, the ${order} first`;
  const rows = cell.images.map(each => {
    const strip = element("div", {className: "strip"}, ...each.near.map(near => {
      const made = tile(near, `${nameOf(images.label[near])}: ${pathOf(near)}`);
      made.className = "tile";
      made.style.borderColor = colourOf(images.label[near]);
      return made;
    }));
    const sure = `${percent(images.probability[each.image])} ${nameOf(cell.predicted)}`;
    const text = element("div", {}, element("b", {}, sure), element("br"),
      element("span", {className: "quiet"}, pathOf(each.image)), strip);
    return element("div", {className: "row"}, tile(each.image, pathOf(each.image)), text);
  });
  byId("cell").replaceChildren(
    element("h3", {}, title + some), element("div", {className: "rows"}, ...rows));
}

function showSuspects(listed) {
  byId("suspects").append(...listed.map(each => {
    const caption = element("figcaption", {title: pathOf(each.image)},
      element("b", {}, each.given), `, ${percent(each.confidence)}`, element("br"),
      `rather ${each.rather}`, ...(each.probable ? [element("br"), "probably wrong"] : []));
    return element("figure", {}, tile(each.image, pathOf(each.image)), caption);
  }));
}
