//! A browser: one page with many objects, over as many connections as it likes.

use crate::programs::installed_by_choice;
use crate::servers::Server;
use crate::site::{Site, count};

#[test]
fn chromium_loads_a_page_with_many_objects() {
    const SCRIPTS: usize = 60;
    const IMAGES: usize = 40;
    // Gzip makes half of the answers chunked.
    let (Some(chromium), Some(server)) =
        (installed_by_choice("chromium"), Server::nginx("gzip on; gzip_types text/javascript application/javascript;"))
    else {
        return;
    };
    let mut page =
        "<!doctype html><title>0</title><link rel=icon href=data:,><script>let sum = 0, widths = 0</script>\n"
            .to_owned();
    for ix in 0..SCRIPTS {
        let padding = "// a line that is long enough to be worth compressing\n".repeat(ix * 20);
        server.text(&format!("{ix}.js"), &format!("{padding}sum += {ix};\n"));
        page += &format!("<script src=\"{ix}.js\"></script>\n");
    }
    for ix in 0..IMAGES {
        let image = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"1\"/>", w = ix + 1);
        server.text(&format!("{ix}.svg"), &image);
        page += &format!("<img src=\"{ix}.svg\" onload=\"widths += this.naturalWidth\">\n");
    }
    page += "<p id=result></p><script>addEventListener('load', () => result.textContent = `loaded ${sum} ${widths}`)</script>\n";
    server.text("index.html", &page);
    let site = Site::before(&server.target);
    let profile = format!("--user-data-dir={}", site.home().join("profile").display());
    // Without its sandbox, as that needs more privileges than a test is given; without requests of its own.
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        &profile,
        "--dump-dom",
    ];
    let url = site.url("/index.html");
    let said = site.run_well(&chromium, &[&arguments[..], &[&url]].concat());
    let (scripts, images) = ((0..SCRIPTS).sum::<usize>(), (1..=IMAGES).sum::<usize>());
    assert!(said.out.contains(&format!("loaded {scripts} {images}")), "{}\n{}", said.out, said.err);
    let log = site.close(1 + SCRIPTS + IMAGES);
    assert_eq!(count(&log, "status", 200), 1 + SCRIPTS + IMAGES);
}
