// On phones the sections stand in one row that scrolls: the present one comes into sight.
document.querySelector(".prefs .toc [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
