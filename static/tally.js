// What htmx does not do: keys, scrolling, copying, the drawer. Every page works without this file.
(() => {
  const by = (id) => document.getElementById(id);
  const talk = by("talk");
  const latest = by("latest");
  let following = !location.hash.startsWith("#message-");  // a link to a message leads there

  // Scrolling: follow the answer while the reader is at the end, else offer "Latest".
  const atEnd = () => talk.scrollHeight - talk.scrollTop - talk.clientHeight < 60;
  const follow = () => { if (talk && following && !("keepsPlace" in talk.dataset)) talk.scrollTop = talk.scrollHeight; };
  if (talk) {
    talk.addEventListener("scroll", () => { following = atEnd(); latest.hidden = following; }, { passive: true });
    latest.addEventListener("click", () => { following = true; follow(); });
    new MutationObserver(follow).observe(by("turns"), { childList: true, subtree: true });
    follow();
  }

  // Drafts: what was written stays in this browser until it is sent, whatever becomes of the log-in meanwhile.
  const draft = by("composer")?.dataset.draft;
  const stored = (act) => { try { return act(localStorage); } catch { return null; } };  // a browser may have none
  const keepDraft = () => stored((all) => {
    if (by("prompt").value) all.setItem(`draft:${draft}`, by("prompt").value);
    else all.removeItem(`draft:${draft}`);
  });
  if (draft) {
    by("prompt").value ||= stored((all) => all.getItem(`draft:${draft}`)) ?? "";
    by("prompt").addEventListener("input", keepDraft);
  }
  document.addEventListener("submit", (event) => {  // whoever logs out leaves nothing behind
    if (!event.target.getAttribute("action")?.endsWith("/logout/")) return;
    stored((all) => Object.keys(all).filter((key) => key.startsWith("draft:")).forEach((key) => all.removeItem(key)));
  });

  // Streams: a hidden tab lets go of its connection, of which a browser has six for a host, and when it is shown again
  // goes on after the last event. A block is held until the tail that belongs to it: both are painted at once, nothing jumps.
  // A stream that is refused, as too many are open, is closed for good by the browser. It is asked for again after a pause.
  const TRY_AGAIN_MILLISECONDS = 5000;  // as the server's Retry-After, which no script is told
  class Stream extends EventTarget {
    #url; #source = null; #names = new Set(); #after = ""; #block = null; #isClosed = false; #nextTry = 0;
    #turn = () => { if (document.hidden) this.#pause(); else this.#open(); };
    #pass = (event) => {
      if (event.type === "block") { this.#block = event; return; }
      if (event.type === "tail") {
        if (this.#block) this.#tell(this.#block);
        this.#block = null;
        this.#after = event.lastEventId;
      }
      this.#tell(event);
    };
    #tell = (event) => this.dispatchEvent(new MessageEvent(event.type, { data: event.data, lastEventId: event.lastEventId }));

    constructor(url) {
      super();
      this.#url = url;
      document.addEventListener("visibilitychange", this.#turn);
      this.#turn();
    }

    get isRefused() { return this.#nextTry !== 0; }

    get readyState() { return this.#isClosed ? EventSource.CLOSED : this.#source?.readyState ?? EventSource.CONNECTING; }

    addEventListener(name, listener) {
      super.addEventListener(name, listener);
      if (this.#names.has(name)) return;
      this.#names.add(name);
      this.#source?.addEventListener(name, this.#pass);
    }

    close() {
      this.#isClosed = true;
      document.removeEventListener("visibilitychange", this.#turn);
      this.#pause();
    }

    #pause() {
      clearTimeout(this.#nextTry);
      this.#nextTry = 0;
      this.#source?.close();
      this.#source = this.#block = null;
    }

    #tryLater() {
      this.#pause();
      this.#nextTry = setTimeout(this.#turn, TRY_AGAIN_MILLISECONDS);
    }

    #open() {
      if (this.#source || this.#isClosed) return;
      const source = new EventSource(this.#after ? `${this.#url}?after=${this.#after}` : this.#url);
      this.#source = source;
      this.#names.forEach((name) => source.addEventListener(name, this.#pass));
      source.addEventListener("login", () => { this.close(); keepDraft(); location.reload(); });
      source.onopen = (event) => this.onopen?.(event);
      source.onerror = (event) => {
        this.#block = null;  // it comes again, after the last tail
        if (source.readyState === EventSource.CLOSED) this.#tryLater();
        this.onerror?.(event);
      };
    }
  }
  if (window.htmx) htmx.createEventSource = (url) => new Stream(url);
  const sayRefused = (event) => {
    event.target.querySelector("[data-refused]").hidden = event.type === "htmx:sseOpen" || !event.detail.source.isRefused;
  };
  document.addEventListener("htmx:sseError", sayRefused);
  document.addEventListener("htmx:sseOpen", sayRefused);

  // Keys: Enter sends, Shift+Enter breaks the line, Esc stops. An Enter that ends a word of an input method (229 is how
  // Safari says so) is none, and an Esc that closes something or empties a field stops nothing.
  const isComposing = (event) => event.isComposing || event.keyCode === 229;
  const stopsAnswer = (event) => !event.defaultPrevented && !isComposing(event) && !document.querySelector(":popover-open")
    && (event.target.id === "prompt" || !event.target.closest("input, select, textarea, details[open]"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.shiftKey && stopsAnswer(event)) document.querySelector("[data-stop]")?.click();
    if (event.target.id === "prompt" && event.key === "Enter" && !event.shiftKey && !isComposing(event)) {
      event.preventDefault();
      document.querySelector("#composer .go")?.click();
    }
  });

  // The side bar: a drawer on a phone, by its popover; on a wide screen it closes, and stays closed on the next page.
  const isWide = matchMedia("(min-width: 52.0625rem)");
  document.querySelectorAll("[data-side-bar]").forEach((button) => button.addEventListener("click", (event) => {
    if (!isWide.matches) return;
    event.preventDefault();
    const { sideBar } = button.dataset;
    document.cookie = `side=${sideBar}; path=/; max-age=31536000; samesite=lax`;
    if (sideBar) document.documentElement.dataset.side = sideBar;
    else delete document.documentElement.dataset.side;
    document.querySelector(`[data-side-bar="${sideBar ? "" : "closed"}"]`).focus();
  }));

  // Menus: Esc and a click elsewhere close them; after Esc the focus is where it was.
  const MENUS = ":is(details.row-menu, details.tool, details.account)[open]";
  const closeMenus = (except) => document.querySelectorAll(MENUS).forEach((menu) => { if (menu !== except) menu.open = false; });
  document.addEventListener("click", (event) => closeMenus(event.target.closest(MENUS)));
  document.addEventListener("keydown", (event) => {
    const menu = event.target.closest(MENUS);
    if (event.key !== "Escape" || !menu) return;
    event.preventDefault();
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // The composer's menus: the model's name stands on its button, and a mood sets the numbers of the settings.
  document.addEventListener("change", (event) => {
    const { name } = event.target.dataset;
    if (!name || event.target.name !== "model") return;
    document.querySelector("[data-picked]").textContent = name;
    document.querySelectorAll(".knobs input[placeholder]").forEach((field) => field.removeAttribute("placeholder"));
  });
  document.querySelectorAll(".knobs [hidden]").forEach((part) => { part.hidden = false; });
  const showMood = () => document.querySelectorAll(".seg [data-mood]").forEach((button) => {
    const mood = JSON.parse(button.dataset.mood);
    const isChosen = (field) => field.value === (mood[field.name] ?? "");
    button.setAttribute("aria-pressed", [...document.querySelectorAll("#id_temperature, #id_top_p, #id_top_k")].every(isChosen));
  });
  document.querySelector(".knobs")?.addEventListener("input", showMood);
  showMood();
  document.querySelectorAll("[data-mood]").forEach((button) => button.addEventListener("click", () => {
    const mood = JSON.parse(button.dataset.mood);
    document.querySelectorAll(".knobs input").forEach((field) => { field.value = mood[field.name] ?? ""; });
    if (button.classList.contains("mini")) document.querySelector(".knobs textarea").value = "";
    showMood();
    document.querySelector(".knobs input").dispatchEvent(new Event("change", { bubbles: true }));
  }));

  // Keyboard shortcuts, and the list of them; Ctrl is Cmd on a Mac. What a page does not have does nothing.
  document.querySelectorAll("[data-keys]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => { closeMenus(); by("keys").showModal(); });
  });
  const search = () => {
    if (!isWide.matches) by("side").showPopover();
    else if (document.documentElement.dataset.side) document.querySelector('[data-side-bar=""]').click();
    document.querySelector("[type=search]").focus();
  };
  const last = (selector) => [...document.querySelectorAll(selector)].at(-1);
  const SHORTCUTS = {  // by the key's place on the board, since Shift changes what it writes
    KeyO: () => document.querySelector("[data-new-chat]").click(),
    Semicolon: () => last(".turn.it [data-copy]")?.click(),
    Comma: () => last("[id^=before-]:not([aria-disabled])")?.click(),
    Period: () => last("[id^=after-]:not([aria-disabled])")?.click(),
  };
  document.addEventListener("keydown", (event) => {
    const isCommand = event.ctrlKey || event.metaKey;
    let act = isCommand && event.shiftKey ? SHORTCUTS[event.code] : null;
    if (isCommand && !event.shiftKey && event.code === "KeyK") act = search;
    if (isCommand && event.key === "/") act = () => by("keys").showModal();
    if (event.key === "Escape" && event.shiftKey) act = () => by("prompt")?.focus();
    if (!act || !by("keys")) return;
    event.preventDefault();
    act();
  });

  // The offline page. A page on plain http has no service worker.
  navigator.serviceWorker?.register("/service-worker.js").catch(() => {});

  // Copying: a page on plain http has no clipboard, but a selection that can be copied.
  const copyBySelection = (text) => {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  };
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); } catch { copyBySelection(text); }
  };

  // What a button copies: the Markdown of its message, or its block of code, which comes in pieces while it is written.
  const sourceOf = (button) => {
    if (button.dataset.copy) {
      const source = by(button.dataset.copy).querySelector("[data-source]");
      return (source.content ?? source).textContent;
    }
    let text = "";
    for (let block = button.closest(".block"); block; block = nextPiece(block)) text += block.querySelector("code").textContent;
    return text.replace(/\n$/, "");
  };
  const nextPiece = (block) => {
    const next = block.nextElementSibling ?? block.closest(".blocks")?.nextElementSibling?.firstElementChild;
    return next?.matches(".block.more") ? next : null;
  };
  const showCopied = (button) => {
    const icon = button.querySelector("use");
    button.setAttribute("aria-live", "polite");
    if (icon) icon.setAttribute("href", icon.getAttribute("href").replace("#copy", "#check"));
    else {
      button.dataset.label ??= button.textContent;
      button.textContent = "✓";
    }
    setTimeout(() => {
      if (icon) icon.setAttribute("href", icon.getAttribute("href").replace("#check", "#copy"));
      else button.textContent = button.dataset.label;
    }, 1500);
  };

  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-example], [data-copy], [data-copy-code]");
    if (!target) return;
    if (!("example" in target.dataset)) {
      copy(sourceOf(target)).then(() => target.focus());
      showCopied(target);
    } else {
      by("prompt").value = target.dataset.example;
      by("prompt").dispatchEvent(new Event("input", { bubbles: true }));
      by("prompt").focus();
    }
  });

  // Printing and copying need this script, so buttons of pages that are useful without it are hidden until now.
  document.querySelectorAll("[data-print], [data-copy]").forEach((button) => { button.hidden = false; });
  document.querySelectorAll("[data-print]").forEach((button) => button.addEventListener("click", () => window.print()));

  // A custom amount says what it buys.
  by("amount")?.addEventListener("input", (event) => {
    const credits = Number(event.target.value) * Number(event.target.dataset.creditsPerUnit);
    by("amount-credits").value = credits > 0 ? `= ${credits.toLocaleString(document.documentElement.lang)}` : "";
  });

  // A message that was sent leaves the composer; one that was refused stays in it.
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt.id !== "composer") return;
    const { successful, xhr } = event.detail;
    if (xhr.status === 200 && xhr.getResponseHeader("HX-Redirect")) stored((all) => all.removeItem(`draft:${draft}`));
    else if (successful) {
      by("prompt").value = "";
      keepDraft();
      following = true;
      follow();
    }
    by("prompt").focus();
  });
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (event.detail.xhr.status === 401 && draft) keepDraft();
  });
  const say = (what) => {
    const note = document.createElement("p");
    note.className = "note bad";
    note.textContent = by("compose-error")?.dataset[what] ?? "";
    by("compose-error")?.replaceChildren(note);
  };
  document.addEventListener("htmx:sendError", () => say("offline"));
  document.addEventListener("htmx:responseError", (event) => {
    if (!event.detail.xhr.getResponseHeader("HX-Retarget")) say("broken");
  });
})();
