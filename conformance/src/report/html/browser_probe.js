// Runs in a page that embeds the report once for each width, light and dark. Prints what it found as JSON.
const WIDTHS = [1280, 400];

async function look(frame, width, dark) {
  const page = frame.contentDocument;
  const root = page.documentElement;
  for (const details of page.querySelectorAll("details")) details.open = true;
  const wide = [...page.querySelectorAll("body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.right > width + 1;
  });
  const anchors = [...page.querySelectorAll("a[href]")].map((link) => link.getAttribute("href"));
  const inside = anchors.filter((href) => href.startsWith("#"));
  const audit = await frame.contentWindow.axe.run(page, { resultTypes: ["violations"] });
  const serious = audit.violations.filter((found) => ["serious", "critical"].includes(found.impact));
  return {
    width,
    dark,
    overflow: root.scrollWidth - root.clientWidth,
    too_wide: wide.slice(0, 5).map((element) => element.outerHTML.slice(0, 120)),
    broken_anchors: inside.filter((href) => !page.getElementById(decodeURIComponent(href.slice(1)))),
    twice: [...page.querySelectorAll("[id]")].map((e) => e.id).filter((id, at, all) => all.indexOf(id) !== at),
    files: anchors.filter((href) => !href.startsWith("#")),
    from_elsewhere: [...page.querySelectorAll("[src], link[href]")]
      .map((element) => element.getAttribute("src") ?? element.getAttribute("href"))
      .filter((address) => !address.startsWith("data:")),
    audited: audit.testEngine.version,
    serious: serious.map((found) => `${found.id}: ${found.nodes[0].html.slice(0, 200)}`),
  };
}

async function main() {
  const found = [];
  for (const [width, dark] of WIDTHS.flatMap((width) => [[width, false], [width, true]])) {
    const frame = document.createElement("iframe");
    frame.style = `width:${width}px; height:2000px; border:0`;
    const text = document.getElementById("report").textContent;
    frame.srcdoc = text.replaceAll("(prefers-color-scheme: dark)", dark ? "all" : "not all");
    const loaded = new Promise((resolve) => frame.addEventListener("load", resolve));
    document.body.append(frame);
    await loaded;
    const script = frame.contentDocument.createElement("script");
    script.textContent = document.getElementById("axe").textContent;
    frame.contentDocument.head.append(script);
    found.push(await look(frame, width, dark));
  }
  return found;
}

main().then(
  (found) => { document.getElementById("found").textContent = JSON.stringify(found); },
  (error) => { document.getElementById("found").textContent = JSON.stringify({ error: String(error) }); },
);
