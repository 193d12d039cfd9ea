//! The status page in a real browser: what happens to a tunnel is seen within two seconds, by script, by plain HTML and by
//! `curl`; and who may not act does not.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::netns::Netns;
use testkit::peer::{pause, wait_for};
use testkit::webdriver::{self, Browser};

use crate::List;
use crate::case::{Case, Pair, Tunnel, measured};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    let page = || Tunnel { edit: |left, _| left.ours_extra = HTTP.into(), ..gcm(Pair::OursToOurs) };
    let refused = Tunnel {
        edit: |left, _| {
            left.ours_extra = HTTP.into();
            left.ike = "aes256-sha256-ecp256".into();
        },
        ..gcm(Pair::OursToOurs)
    };
    list.tunnel("page/metrics", page(), metrics);
    list.tunnel("page/crowd", page(), crowd);
    let missing = webdriver::missing();
    if !missing.is_empty() {
        list.missing("page/browser", &missing.join(", "));
        return;
    }
    list.tunnel("page/up-and-killed", page(), up_and_killed);
    list.tunnel("page/refused", refused, proposal_refused);
    let acting = Tunnel {
        edit: |left, _| {
            left.ours_extra = format!(
                "{HTTP}admin_token = {{ file = \"admin\" }}\nread_token = {{ file = \"read\" }}\n"
            );
        },
        ..page()
    };
    list.tunnel("page/acts-with-the-token", acting, acts);
}

/// The tunnel is up, carries something, and its peer is killed.
fn up_and_killed(case: &mut Case) -> Result<()> {
    case.up()?;
    let browser = Browser::start(&case.sites.left.gateway, case.dir.path())?;
    browser.go(PAGE)?;
    shows(&browser, "up", Duration::from_secs(3))?;
    wait_for("news by the stream", Duration::from_secs(3), || {
        Ok((browser.eval("return document.body.dataset.live")? == "yes").then_some(()))
    })?;
    // What our policy for contents does not let through, chromium does not apply.
    let painted = "return getComputedStyle(document.querySelector('.pill')).borderRadius";
    ensure!(browser.eval(painted)? == "999px", "the style is not in force");
    ensure!(browser.eval("return document.forms.length")? == 1, "buttons without a token");

    let to = case.sites.right.host_address(testkit::netns::Family::V4, 0);
    case.sites.left.host.ping(to, 40, Duration::from_millis(50))?;
    let sent = "return document.querySelector('.sent .rate').textContent";
    wait_for("what was carried", Duration::from_secs(3), || {
        Ok((browser.eval(sent)? != "0").then_some(()))
    })?;

    forms(&browser)?;
    case.right.daemon().kill()?;
    wait_for("the gateway to notice", Duration::from_secs(15), || {
        Ok((!case.left.facts("site")?.up).then_some(()))
    })?;
    let took = not_up(&browser)?;
    measured(&format!(
        "page: a killed peer is shown {} ms after the status has it",
        took.as_millis()
    ));
    ensure!(took <= WITHIN, "shown after {took:?}");
    wait_for("the reason", Duration::from_secs(10), || {
        Ok(browser.text("#c-site .why")?.contains("E10").then_some(()))
    })?;
    let title = browser.eval("return document.title")?;
    ensure!(title == "left: 1 down, 0 up" || title == "left: 0 up", "the title: {title}");

    // Without a script the page says the same.
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }))?;
    browser.go(PAGE)?;
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": false }))?;
    let state = browser.text("#c-site .pill")?;
    ensure!(["down", "connecting"].contains(&state.trim()), "without a script: {state}");
    ensure!(!browser.picture()?.is_empty(), "no picture");
    Ok(())
}

/// What a packet would do, and what the other side needs, by forms without a script; the day beside the ten minutes.
fn forms(browser: &Browser<'_>) -> Result<()> {
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }))?;
    browser.go(&format!("{PAGE}explain?src=10.1.0.9&dst=10.2.0.9&proto=tcp&dport=443"))?;
    let way = browser.text("#walk")?;
    ensure!(way.contains("site") && way.contains("policy"), "the way of a packet: {way}");
    browser.go(&format!("{PAGE}c/site/peer?kind=strongswan"))?;
    let text = browser.text("#text")?;
    ensure!(text.contains("connections {") && text.contains("remote_addrs"), "{text}");
    browser.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": false }))?;
    browser.go(&format!("{PAGE}explain"))?;
    let fill = "const f = document.querySelector('#explain'); f.src.value = '10.1.0.9'; f.dst.value = '10.9.9.9'; f.querySelector('button').click()";
    browser.eval(fill)?;
    wait_for("the answer to the form", Duration::from_secs(3), || {
        Ok(browser.text("#walk").is_ok_and(|way| way.contains("10.9.9.9")).then_some(()))
    })?;
    browser.go(&format!("{PAGE}c/site"))?;
    ensure!(browser.text("#day")?.contains("24 h ago"), "no day");
    if let Some(place) = std::env::var_os("PAGE_PICTURES") {
        pictures(browser, std::path::Path::new(&place))?;
    }
    browser.go(PAGE)
}

/// For whoever wants to look: each page wide and narrow, light and dark.
fn pictures(browser: &Browser<'_>, place: &std::path::Path) -> Result<()> {
    for (name, path) in [
        ("detail", "c/site"),
        ("explain", "explain?src=10.1.0.9&dst=10.2.0.9&proto=tcp&dport=443"),
        ("stopped", "explain?src=10.1.0.9&dst=10.9.9.9"),
        ("peer", "c/site/peer?kind=strongswan"),
    ] {
        for (look, width, scheme) in
            [("light", 1200, "light"), ("dark", 1200, "dark"), ("narrow", 390, "light")]
        {
            let feature =
                json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
            browser.devtools("Emulation.setEmulatedMedia", &feature)?;
            let metrics = json!({ "width": width, "height": 1100, "deviceScaleFactor": 1, "mobile": width < 500 });
            browser.devtools("Emulation.setDeviceMetricsOverride", &metrics)?;
            browser.go(&format!("{PAGE}{path}"))?;
            std::fs::write(place.join(format!("{name}-{look}.png")), browser.picture()?)?;
        }
    }
    browser.devtools("Emulation.clearDeviceMetricsOverride", &json!({}))?;
    Ok(())
}

/// Both sides want other algorithms.
fn proposal_refused(case: &mut Case) -> Result<()> {
    case.start()?;
    let browser = Browser::start(&case.sites.left.gateway, case.dir.path())?;
    browser.go(PAGE)?;
    wait_for("the reason of the refusal", Duration::from_secs(5), || {
        let told = browser.text("#c-site .why")?;
        Ok((told.contains("E1003") && told.contains("proposal-mismatch-ike")).then_some(()))
    })?;
    browser.go(&format!("{PAGE}c/site"))?;
    ensure!(
        browser.text("#state")?.contains("aes256-sha256-ecp256"),
        "both offers on its own page"
    );
    ensure!(browser.text("#happened")?.contains("E1003"), "and in its events");
    Ok(())
}

/// Buttons: with the token they work, and the page shows what they did.
fn acts(case: &mut Case) -> Result<()> {
    for (name, token) in [("admin", TOKEN), ("read", READ)] {
        let file = case.dir.path().join(name);
        std::fs::write(&file, format!("{token}\n"))?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    }
    case.up()?;
    let netns = &case.sites.left.gateway;
    let form = "command=down&name=site";
    let shown = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let refused = [
        ("GET", shown(TOKEN), "405"),
        ("POST", String::new(), "401"),
        ("POST", shown("x-x-x-x-x-x-x-x-x-x"), "401"),
        ("POST", shown(READ), "401"),
        ("POST", shown(TOKEN) + "Origin: http://evil.example\r\n", "403"),
        ("POST", shown(TOKEN) + "Sec-Fetch-Site: cross-site\r\n", "403"),
    ];
    for (method, headers, status) in refused {
        let answer = ask(netns, method, "/api/v1/do", &headers, form)?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{method} {headers}: {answer}");
    }
    ensure!(case.left.facts("site")?.up, "somebody without the token took it down");

    let browser = Browser::start(netns, case.dir.path())?;
    // As if somebody had answered the question for a password.
    browser.go(&format!("http://admin:{TOKEN}@127.0.0.1:9780/"))?;
    browser.go(&format!("{PAGE}c/site"))?;
    shows(&browser, "up", Duration::from_secs(3))?;
    browser.eval("window.confirm = () => true; document.querySelector('button.down').click()")?;
    shows(&browser, "disabled", WITHIN + Duration::from_secs(1))?;
    ensure!(browser.text("#link")?.contains("stays down"), "what the gateway said");
    browser.eval("document.querySelector('button.up').click()")?;
    shows(&browser, "up", Duration::from_secs(5))?;
    ensure!(!case.left.log().contains(TOKEN), "the token is in the log");
    let config = ask(netns, "GET", "/api/v1/config", &shown(READ), "")?;
    ensure!(config.contains("\"effective\""), "{config}");
    ensure!(!config.contains(TOKEN) && !config.contains(READ), "a token is shown");
    Ok(())
}

/// The text for Prometheus: the same series with the tunnel up and down, and counters that survive rekeys.
fn metrics(case: &mut Case) -> Result<()> {
    case.up()?;
    let netns = &case.sites.left.gateway;
    let scrape = || ask(netns, "GET", "/metrics", "", "");
    let value = |text: &str, name: &str| -> Result<u64> {
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned())?;
        Ok(line.trim().parse()?)
    };
    let bytes = "s2sgw_receive_bytes_total{connection=\"site\",child=\"lan-1\"}";
    wait_for("the tunnel in the metrics", Duration::from_secs(3), || {
        Ok((value(&scrape()?, "s2sgw_connection_up{connection=\"site\"}")? == 1).then_some(()))
    })?;
    let to = case.sites.right.host_address(testkit::netns::Family::V4, 0);
    case.sites.left.host.ping(to, 10, crate::case::GAP)?;
    pause(Duration::from_millis(1500));
    let before = value(&scrape()?, bytes)?;
    ensure!(before >= 840, "{before} octets of ten pings");
    let facts = case.facts()?;
    case.left.rekey_child("site")?;
    case.wait_changed(&facts, "other SPIs", |old, new| old.child_spis != new.child_spis)?;
    pause(Duration::from_millis(1500));
    let text = scrape()?;
    ensure!(value(&text, bytes)? >= before, "a rekey set the counter back");
    let rekeys = "s2sgw_rekeys_total{connection=\"site\",kind=\"child\",result=\"ok\"}";
    ensure!(value(&text, rekeys)? >= 1, "no rekey was counted");
    let took = "s2sgw_ike_handshake_duration_seconds_count{connection=\"site\"}";
    ensure!(value(&text, took)? == 1, "one handshake");
    for facts in case.facts()? {
        for spi in facts.child_spis {
            ensure!(!text.contains(&spi), "an SPI in the metrics");
        }
    }
    let cli = case.left.as_ours().context("ours")?.tell(&["metrics"])?;
    let series = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("s2sgw_"));
        lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    ensure!(series(&cli) == series(&text), "`s2s-gw metrics` says something else");

    case.left.as_ours().context("ours")?.tell(&["down", "site", "--yes"])?;
    wait_for("the tunnel to be down in the metrics", Duration::from_secs(3), || {
        Ok((value(&scrape()?, "s2sgw_connection_up{connection=\"site\"}")? == 0).then_some(()))
    })?;
    let comes = ["established_timestamp", "peer_rtt", "unassigned"];
    let lasting = |text: &str| {
        let mut all = series(text);
        all.retain(|name| !comes.iter().any(|one| name.contains(one)));
        all
    };
    ensure!(lasting(&scrape()?) == lasting(&text), "series went with the tunnel");
    Ok(())
}

/// A thousand clients that say nothing, and slow ones, keep nobody out, and packets do not notice.
fn crowd(case: &mut Case) -> Result<()> {
    case.up()?;
    case.while_flowing(|case| {
        case.sites.left.gateway.inside(|| {
            let mut crowd = Vec::new();
            for number in 0..1000 {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 9780))?;
                if number % 2 == 0 {
                    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ")?;
                }
                crowd.push(stream);
            }
            for _ in 0..20 {
                for stream in crowd.iter_mut().step_by(2) {
                    // Those that were sent away do not take it any more.
                    let _ = stream.write_all(b"x");
                }
                let answer = exchange("GET", "/api/v1/status", "", "")?;
                ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            }
            let mut refusal = String::new();
            let first = crowd.first_mut().context("a client")?;
            first.set_read_timeout(Some(Duration::from_secs(5)))?;
            let _ = first.read_to_string(&mut refusal);
            ensure!(refusal.starts_with("HTTP/1.1 503"), "the first was told: {refusal:?}");
            Ok(())
        })
    })?;
    Ok(())
}

fn shows(browser: &Browser<'_>, state: &str, patience: Duration) -> Result<()> {
    wait_for(&format!("the page to show {state}"), patience, || {
        Ok((browser.text("[data-name=site] .pill")?.trim() == state).then_some(()))
    })
}

/// How long it takes until the page says that the tunnel is not up.
fn not_up(browser: &Browser<'_>) -> Result<Duration> {
    let begun = testkit::peer::now();
    wait_for("the page to show it", Duration::from_secs(10), || {
        Ok((browser.text("#c-site .pill")?.trim() != "up").then_some(()))
    })?;
    Ok(begun.elapsed())
}

fn ask(netns: &Netns, method: &str, path: &str, headers: &str, body: &str) -> Result<String> {
    netns.inside(|| exchange(method, path, headers, body))
}

fn exchange(method: &str, path: &str, headers: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 9780))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:9780\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

const HTTP: &str = "\n[http]\n";
const PAGE: &str = "http://127.0.0.1:9780/";
const READ: &str = "s2st-token-of-readers-Zq9";
const TOKEN: &str = "s2st-token-of-the-page-Zq8";
/// As seldom as the gateway is asked, twice.
const WITHIN: Duration = Duration::from_secs(2);
