//! A real browser: chromium without a window, in a namespace, driven by the WebDriver protocol (W3C) through chromedriver.
//!
//! ```text
//!   Browser ── JSON over HTTP, one question at a time ──► chromedriver ──► chromium ──► the page under test
//!              all three inside the namespace
//! ```

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::netns::Netns;
use crate::peer::{Daemon, wait_for};

/// A browser with one page; it ends with this.
pub struct Browser<'n> {
    netns: &'n Netns,
    driver: Daemon,
    session: String,
}

/// Debian packages that are not here.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let programs = [(CHROMIUM, "chromium"), (DRIVER, "chromium-driver")];
    programs
        .into_iter()
        .filter(|(path, _)| !Path::new(path).exists())
        .map(|(_, package)| package)
        .collect()
}

impl<'n> Browser<'n> {
    /// Starts one that keeps everything it writes under `dir`.
    ///
    /// # Errors
    /// If it does not start within 30 seconds.
    pub fn start(netns: &'n Netns, dir: &Path) -> Result<Self> {
        let mut driver = Daemon::new(dir.join("chromedriver.log"));
        let mut command = netns.command(DRIVER);
        command.arg(format!("--port={PORT}")).env("HOME", dir);
        driver.spawn(command)?;
        let mut browser = Self { netns, driver, session: String::new() };
        wait_for("chromedriver", Duration::from_secs(30), || {
            Ok(browser.ask("GET", "/status", None).is_ok().then_some(()))
        })?;
        let data = dir.join("chromium").display().to_string();
        let mut arguments: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={data}"));
        let options = json!({ "binary": CHROMIUM, "args": arguments });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let wanted = json!({ "capabilities": { "alwaysMatch": wanted } });
        let session = browser.ask("POST", "/session", Some(wanted))?;
        let id = session.get("sessionId").and_then(Value::as_str);
        id.context("no session")?.clone_into(&mut browser.session);
        Ok(browser)
    }

    /// Goes to an address, and waits until it is there.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn go(&self, address: &str) -> Result<()> {
        self.tell("url", json!({ "url": address })).map(drop)
    }

    /// What a script returns; `return document.title`.
    ///
    /// # Errors
    /// If it throws.
    pub fn eval(&self, script: &str) -> Result<Value> {
        self.tell("execute/sync", json!({ "script": script, "args": [] }))
    }

    /// The text that a reader sees in the first element of a selector; empty if there is none.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn text(&self, selector: &str) -> Result<String> {
        let found = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        Ok(self.eval(&found)?.as_str().unwrap_or_default().to_owned())
    }

    /// A command of the DevTools protocol.
    ///
    /// # Errors
    /// If chromium refuses it.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        self.tell("goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    /// A picture of the page, PNG.
    ///
    /// # Errors
    /// If there is none.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let taken = self.devtools("Page.captureScreenshot", &json!({ "format": "png" }))?;
        Ok(STANDARD.decode(taken.get("data").and_then(Value::as_str).context("no picture")?)?)
    }

    fn tell(&self, what: &str, body: Value) -> Result<Value> {
        self.ask("POST", &format!("/session/{}/{what}", self.session), Some(body))
    }

    /// One question and its answer, inside the namespace.
    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let answer = self.netns.inside(|| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            let length = body.len();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all((head + &body).as_bytes())?;
            receive(&mut BufReader::new(stream))
        })?;
        let (head, body) = answer;
        let value: Value =
            serde_json::from_str(&body).with_context(|| format!("{head}: {body}"))?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("{path}: {:?}", value.pointer("/value/message"));
        }
        value.get("value").cloned().with_context(|| format!("no value: {body}"))
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Then chromium is gone before its files are.
            let _ = self.ask("DELETE", &format!("/session/{}", self.session), None);
        }
        let _ = self.driver.stop(Signal::TERM);
    }
}

/// The first line of an answer, and its body. The driver keeps the connection open, whatever it is asked for.
fn receive(reader: &mut impl BufRead) -> Result<(String, String)> {
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, String::from_utf8(body)?))
}

const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// Each test has a namespace of its own.
const PORT: u16 = 9515;
/// As root, without a window, and without a word to anybody.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];
