// What htmx does not do: keys, scrolling, copying, the drawer. Every page works without this file.
(() => {
  const by = (id) => document.getElementById(id);
  const talk = by("talk");
  const latest = by("latest");
  let following = true;

  // Scrolling: follow the answer while the reader is at the end, else offer "Latest".
  const atEnd = () => talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60;
  const follow = () => { if (talk && following) talk.scrollTop = talk.scrollHeight; };
  if (talk) {
    talk.addEventListener("scroll", () => { following = atEnd(); latest.hidden = following; }, { passive: true });
    latest.addEventListener("click", () => { following = true; follow(); });
    new MutationObserver(follow).observe(by("turns"), { childList: true, subtree: true });
    follow();
  }

  // Keys: Enter sends, Shift+Enter breaks the line, Esc stops.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelector("[data-stop]")?.click();
    if (event.target.id === "prompt" && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      document.querySelector("#composer .go")?.click();
    }
  });

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-example], [data-copy]");
    if (!target) return;
    if (target.dataset.copy) {
      navigator.clipboard.writeText(by(target.dataset.copy).querySelector(".said").innerText);
      target.setAttribute("aria-live", "polite");
      const label = target.textContent;
      target.textContent = "✓";
      setTimeout(() => { target.textContent = label; }, 1500);
    } else {
      by("prompt").value = target.textContent.trim();
      by("prompt").focus();
    }
  });

  // Printing needs this script, so the button is not there without it.
  document.querySelectorAll("[data-print]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  });

  // A custom amount says what it buys.
  by("amount")?.addEventListener("input", (event) => {
    const credits = Number(event.target.value) * Number(event.target.dataset.creditsPerUnit);
    by("amount-credits").value = credits > 0 ? `= ${credits.toLocaleString(document.documentElement.lang)}` : "";
  });

  // A message that was sent leaves the composer; one that was refused stays in it.
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt.id !== "composer") return;
    if (event.detail.successful && !event.detail.xhr.getResponseHeader("HX-Redirect")) {
      by("prompt").value = "";
      following = true;
      follow();
    }
    by("prompt").focus();
  });
  document.addEventListener("htmx:sendError", () => {
    const note = document.createElement("p");
    note.className = "note bad";
    note.textContent = by("compose-error")?.dataset.offline ?? "";
    by("compose-error")?.replaceChildren(note);
  });
})();
