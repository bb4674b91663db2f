"use strict";
// Keys: arrows go to the page before and after; a, r and e judge a pair. Forms and links work without this file.
function typing(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const found = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!found) return;
  event.preventDefault();
  if (found.tagName === "TEXTAREA") found.focus();
  else found.click();
});
// The list of runs compares two: a third tick takes the first one away.
const ticked = [];
document.addEventListener("change", (event) => {
  if (!event.target.matches('.runs input[name="run"]')) return;
  if (event.target.checked) ticked.push(event.target);
  else ticked.splice(ticked.indexOf(event.target), 1);
  if (ticked.length > 2) ticked.shift().checked = false;
});
// A page of a running run loads again, but not under somebody who types, chooses or selects; without scripts a
// meta element does it.
const seconds = Number(document.body.dataset.refresh);
if (seconds) {
  setInterval(() => {
    const busy = typing(document.activeElement) || ticked.length || String(document.getSelection());
    if (!busy && !document.hidden) location.reload();
  }, 1000 * seconds);
}
