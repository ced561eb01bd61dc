// The list of conversations: its menus open where there is room, and the focus stays where the reader was; notices; and
// the size of a file that is to be imported. Every page works without this file.
(() => {
  const rowOf = (element) => element.closest?.(".rooms li");
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-close-toast]")) event.target.closest(".toast").remove();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    const cancel = event.target.closest(".rename")?.querySelector("[data-cancel]");
    if (!cancel) return;
    event.preventDefault();
    cancel.click();
  });

  // A file that is too large is refused before it is sent.
  document.addEventListener("change", (event) => {
    const { files, dataset } = event.target;
    if (!dataset?.mostBytes) return;
    event.target.setCustomValidity(files[0]?.size > Number(dataset.mostBytes) ? dataset.tooLarge : "");
    event.target.reportValidity();
  });

  // A menu at the end of the list opens upwards.
  document.addEventListener("toggle", (event) => {
    const menu = event.target;
    if (!menu.classList?.contains("row-menu") || !menu.open) return;
    const pop = menu.querySelector(".pop");
    pop.classList.remove("up");
    const { top, bottom } = menu.getBoundingClientRect();
    const list = menu.closest(".side, .page")?.getBoundingClientRect();
    const end = Math.min(innerHeight, list?.bottom ?? innerHeight);
    if (bottom + pop.offsetHeight > end && top - pop.offsetHeight > 0) pop.classList.add("up");
  }, true);

  // The row that takes the place of the one that went, or the same conversation in the list that was made anew.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const row = rowOf(event.detail.requestConfig?.elt ?? event.target);
    if (!row || !row.contains(document.activeElement)) return;
    const rows = [...document.querySelectorAll(".rooms li")];
    const place = rows.indexOf(row);
    const neighbour = rows[place + 1] ?? rows[place - 1];
    const href = row.querySelector(".room")?.getAttribute("href");
    setTimeout(() => {  // the swap is done by then
      if (document.activeElement && document.activeElement !== document.body) return;
      const same = href && document.querySelector(`.rooms .room[href="${CSS.escape(href)}"]`);
      (same || neighbour?.querySelector(".room"))?.focus();
    });
  });
  document.addEventListener("htmx:afterSettle", () => {
    const shown = document.querySelector(".rooms .room[aria-current]");
    const heading = document.querySelector("#main .top h1");
    if (!shown || !heading || heading.textContent === shown.textContent) return;
    document.title = document.title.replace(heading.textContent.trim(), shown.textContent);
    heading.textContent = shown.textContent;
  });

  // Notices stand above an open drawer, and can be closed.
  const toasts = document.getElementById("toasts");
  const raise = () => {
    toasts.querySelectorAll("[data-close-toast]").forEach((button) => { button.hidden = false; });
    if (!toasts.querySelector(".toast")) return;
    toasts.popover = "manual";
    if (toasts.matches(":popover-open")) toasts.hidePopover();
    toasts.showPopover();
  };
  if (toasts?.showPopover) {
    new MutationObserver(raise).observe(toasts, { childList: true });
    raise();
  }
})();
