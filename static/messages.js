// What htmx does not do for the actions under messages: places that stay, forms that close.
(() => {
  const by = (id) => document.getElementById(id);
  const talk = by("talk");
  if (!talk) return;

  // Showing another version, or earlier messages, replaces what is on the page. What was clicked, or else the first
  // message, stays where it is on the screen, also where the page follows an answer to its end.
  let kept = null;
  const topOf = (id) => by(id)?.getBoundingClientRect().top;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const button = event.detail.requestConfig?.elt;
    if (!button?.matches?.("[data-keep-place]")) return;
    const id = button.id || talk.querySelector(".turn")?.id;
    kept = { id, top: topOf(id) };
    talk.dataset.keepsPlace = "";
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (!kept) return;
    const top = topOf(kept.id);
    if (top !== undefined) talk.scrollTop += top - kept.top;
    kept = null;
    setTimeout(() => { delete talk.dataset.keepsPlace; });
  });

  // A form that was sent is gone, with the focus in it: it goes to what came of it, the last message.
  document.addEventListener("htmx:afterSettle", (event) => {
    const last = talk.querySelector("#turns > .turn:last-of-type");
    if (event.detail.target?.id !== "turns" || document.activeElement !== document.body || !last) return;
    last.tabIndex = -1;
    last.focus({ preventScroll: true });
  });

  // A form about a message closes with Cancel and with Esc, and the focus returns to what opened it.
  const close = (slot) => {
    const opener = document.querySelector(`[data-act][hx-target="#${slot.id}"][aria-expanded="true"]`);
    slot.replaceChildren();
    opener?.setAttribute("aria-expanded", "false");
    opener?.focus();
  };
  document.addEventListener("click", (event) => {
    const slot = event.target.closest("[data-close]")?.closest(".act");
    if (!slot) return;
    event.preventDefault();
    close(slot);
  });
  document.addEventListener("keydown", (event) => {
    const slot = event.key === "Escape" && !event.isComposing && event.target.closest?.(".act");
    if (!slot) return;
    event.preventDefault();
    close(slot);
  }, true);  // before Esc stops an answer
  document.addEventListener("htmx:afterSettle", (event) => {
    const { target, requestConfig } = event.detail;
    const opener = requestConfig?.elt;
    if (!target?.matches?.(".act") || !opener?.matches("[data-act]")) return;
    document.querySelectorAll(`[data-act][hx-target="#${target.id}"]`).forEach((each) => {
      each.setAttribute("aria-expanded", String(each === opener));
    });
    target.querySelector("textarea, select, .go")?.focus();
    target.scrollIntoView({ block: "nearest" });
  });
})();
