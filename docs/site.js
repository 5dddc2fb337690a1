// Tables whose headings sort, and the filter of the leaderboard. Without this script pages show everything.
(() => {
  "use strict";

  // Value of a cell: number where it has one; empty cells come last in either order.
  const value = (cell) => {
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
  };

  function sort(table, column, descending) {
    const sign = descending ? -1 : 1;
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    });
    body.append(...rows.map(([, row]) => row));
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      if (index === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        // The first click shows the largest numbers first, and names from A on.
        const numbers = [...table.tBodies[0].rows].some((row) => typeof value(row.cells[column]) === "number");
        sort(table, column, now ? now === "ascending" : numbers);
      });
    });
  }

  const form = document.querySelector("form.filter");
  if (form) {
    const said = form.querySelector("output");
    const sections = [...document.querySelectorAll(".track")];

    const filter = () => {
      const { track, class: number, family, bits } = Object.fromEntries(new FormData(form));
      for (const section of sections) {
        section.hidden = track && section.dataset.track !== track;
        for (const part of section.querySelectorAll("[data-bits]")) part.hidden = part.dataset.bits !== bits;
        for (const each of section.querySelectorAll("[data-family]")) {
          const point = each.querySelector("[data-classes]");
          const cell = each.querySelector(`[data-class="${number}"]`);
          const fits = point ? point.dataset.classes.split(" ").includes(`${bits}-${number}`) : !cell || cell.textContent;
          // `hidden` is of HTML; pictures are SVG.
          each.toggleAttribute("data-off", (family && each.dataset.family !== family) || (number && !fits));
        }
        for (const cell of section.querySelectorAll("[data-class]")) {
          cell.toggleAttribute("data-off", number && cell.dataset.class !== number);
        }
        if (number) {
          for (const table of section.querySelectorAll("[data-bits] table")) {
            const heads = [...table.tHead.rows[0].cells];
            sort(table, heads.findIndex((head) => head.dataset.class === number), section.dataset.better !== "lower");
          }
        }
      }
      const rows = document.querySelectorAll(".track:not([hidden]) [data-bits]:not([hidden]) tbody tr:not([data-off])");
      said.textContent = `${rows.length} rows`;
    };

    // A link to a heading shows the track that it is in.
    const follow = () => {
      const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
      const section = target && target.closest(".track");
      if (section && section.hidden) {
        form.elements.track.value = section.dataset.track;
        filter();
        target.scrollIntoView();
      }
    };

    form.hidden = false;
    form.elements.track.value = sections[0].dataset.track;
    form.addEventListener("change", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", follow);
    filter();
    follow();
  }
})();
