// Sortable columns: a button in each header of a `sortable` table. Every section keeps its place
// and is sorted on its own, so the nulls stay pinned; missing values come last both ways.
"use strict";

function key(row, column, kind) {
  const cell = row.cells[column];
  if (kind === "number") {
    return cell.dataset.value ? Number(cell.dataset.value) : null;
  }
  return cell.textContent.trim().toLowerCase();
}

function compare(kind, sign) {
  return (a, b) => {
    if (a.key === null || b.key === null) {
      return (a.key === null) - (b.key === null) || a.place - b.place;
    }
    const order = kind === "number" ? a.key - b.key : a.key.localeCompare(b.key);
    return sign * order || a.place - b.place;
  };
}

function sortTable(table, header) {
  const kind = header.dataset.sort;
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) {
    other.removeAttribute("aria-sort");
  }
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  for (const body of table.querySelectorAll("tbody.rows")) {
    const rows = Array.from(body.rows, (row, place) => ({
      row, place, key: key(row, header.cellIndex, kind),
    }));
    rows.sort(compare(kind, ascending ? 1 : -1));
    body.append(...rows.map((item) => item.row));
  }
}

function makeSortable(table) {
  for (const header of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortTable(table, header));
  }
}

// A link into a closed section opens it.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
window.addEventListener("hashchange", openTarget);
openTarget();
