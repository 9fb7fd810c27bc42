// The one control of the first page: which pairs of the comparison table are shown.
"use strict";

(() => {
  const choice = document.querySelector("#pairs-with");
  const rows = [...document.querySelectorAll(".compared tbody tr")];

  function show() {
    for (const row of rows) {
      row.classList.toggle("hidden", choice.value !== "" && ![row.dataset.a, row.dataset.b].includes(choice.value));
    }
  }

  choice?.addEventListener("change", show);
})();
