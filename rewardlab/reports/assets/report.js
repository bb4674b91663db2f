"use strict";
// Sorting: numbers by value, texts by alphabet; missing values last either way.
function key(cell) {
  const text = cell.dataset.value.replace("−", "-").replace("+", "");
  const number = Number.parseFloat(text);
  return { text, number, missing: text === "–" || text === "" };
}
function compare(a, b, numeric) {
  if (!numeric || Number.isNaN(a.number) || Number.isNaN(b.number)) return a.text.localeCompare(b.text);
  return a.number - b.number;
}
function sort(button) {
  const heading = button.closest("th");
  const body = heading.closest("table").tBodies[0];
  const column = heading.cellIndex;
  const numeric = heading.classList.contains("number");
  const before = heading.getAttribute("aria-sort");
  const falling = before === null ? numeric : before === "ascending";
  for (const other of heading.parentNode.children) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const rows = Array.from(body.rows, (row) => ({ row, key: key(row.cells[column]) }));
  rows.sort((a, b) => {
    if (a.key.missing !== b.key.missing) return a.key.missing ? 1 : -1;
    return compare(a.key, b.key, numeric) * (falling ? -1 : 1);
  });
  body.append(...rows.map((each) => each.row));
}
// A number's runs: the entries of the list at the end of the page, with what each run alone says.
function show(link, dialog) {
  const list = dialog.querySelector("ul");
  list.replaceChildren();
  for (const named of link.dataset.runs.split(" ")) {
    const [number, value] = named.split("=");
    const entry = document.getElementById("run-" + number).cloneNode(true);
    entry.removeAttribute("id");
    if (value) entry.querySelector("span").append(": " + value);
    list.append(entry);
  }
  dialog.showModal();
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("th button");
  if (button) sort(button);
  const link = event.target.closest("a[data-runs]");
  const dialog = document.getElementById("sources");
  if (link) {
    event.preventDefault();
    show(link, dialog);
  } else if (event.target === dialog) {
    dialog.close();
  }
});
