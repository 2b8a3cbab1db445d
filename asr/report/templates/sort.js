"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const upwards = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value;
      const isNumber = head.classList.contains("number");
      const order = (one, other) =>
        isNumber ? value(one) - value(other) : value(one).localeCompare(value(other));
      const known = [...body.rows].filter((row) => value(row) !== "").sort(order);
      if (!upwards) known.reverse();
      body.append(...known, ...[...body.rows].filter((row) => value(row) === ""));
    });
  });
}
