// A click on a column's head sorts its table, a second one turns it around.

function sortable(table) {
  table.querySelectorAll("th").forEach((head, column) => {
    let turn = 1;
    head.addEventListener("click", () => {
      const body = table.tBodies[0], text = (row) => row.cells[column].textContent;
      const number = (row) => parseFloat(text(row).replaceAll(",", ""));
      const order = (a, b) => {
        const x = number(a), y = number(b);
        return turn * (Number.isNaN(x) || Number.isNaN(y) ? text(a).localeCompare(text(b)) : x - y);
      };
      body.append(...[...body.rows].sort(order));
      turn = -turn;
    });
  });
}
