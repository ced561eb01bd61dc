// Shows the offline page when a page cannot be loaded. Nothing else is kept: pages are private.
const KEPT = "offline-{% static "tally.css" %}";
const PAGE = "{% url "chat:offline" %}";
const STYLE = "{% static "tally.css" %}";
const ICONS = "{% static "icons.svg" %}";

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll([PAGE, STYLE, ICONS])).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name !== KEPT);
  event.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))));
});

self.addEventListener("fetch", (event) => {
  const isPage = event.request.mode === "navigate" && event.request.method === "GET";
  const isPart = [STYLE, ICONS].includes(new URL(event.request.url).pathname);
  if (!isPage && !isPart) return;
  event.respondWith(fetch(event.request).catch(() => caches.match(isPage ? PAGE : event.request, { ignoreSearch: true })));
});
