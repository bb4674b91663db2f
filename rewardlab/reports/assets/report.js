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
// Tables with tools: a field that filters rows, and a list of columns to show or hide.
function addTools(holder) {
  const table = holder.querySelector("table");
  const tools = document.createElement("div");
  tools.className = "tools";
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Filter rows";
  filter.setAttribute("aria-label", "Filter rows");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  tools.append(filter, columnChoices(table));
  holder.prepend(tools);
}
function columnChoices(table) {
  const list = document.createElement("details");
  const title = document.createElement("summary");
  const choices = document.createElement("div");
  title.textContent = "Columns";
  choices.className = "choices";
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  for (const head of heads.slice(1)) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !head.hidden;
    box.addEventListener("change", () => showColumn(table, head, box.checked));
    label.append(box, " " + head.textContent);
    choices.append(label);
  }
  list.append(title, choices);
  return list;
}
function showColumn(table, head, isShown) {
  head.hidden = !isShown;
  for (const row of table.tBodies[0].rows) row.cells[head.cellIndex].hidden = !isShown;
}
// A legend's entry shows its method alone; pressed again, all of them.
function isolate(button) {
  const figure = button.closest("figure");
  const isAlone = button.getAttribute("aria-pressed") === "true";
  const keys = Array.from(figure.querySelectorAll("button.key"));
  for (const key of keys) key.setAttribute("aria-pressed", String(key === button && !isAlone));
  const others = keys.filter((key) => key !== button).map((key) => key.dataset.alone);
  const isGrey = button.dataset.colour === "10"; // one entry for several methods: all without an entry of their own
  for (const group of figure.querySelectorAll("svg [data-method]")) {
    const name = group.dataset.method;
    const belongs = name === button.dataset.alone || (isGrey && !others.includes(name));
    group.classList.toggle("dim", !isAlone && !belongs);
  }
}
for (const holder of document.querySelectorAll("[data-tools]")) addTools(holder);
document.addEventListener("click", (event) => {
  const button = event.target.closest("th button");
  if (button) sort(button);
  const entry = event.target.closest("button.key");
  if (entry) isolate(entry);
  const link = event.target.closest("a[data-runs]");
  const dialog = document.getElementById("sources");
  if (link) {
    event.preventDefault();
    show(link, dialog);
  } else if (event.target === dialog) {
    dialog.close();
  }
});
