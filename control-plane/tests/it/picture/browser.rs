//! Headless Chromium, told what to do over its debugging protocol.

use crate::parts::eventually;
use futures::{SinkExt, StreamExt};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

const START: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);

/// One window. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    process: Child,
    socket: WebSocketStream<TcpStream>,
    session: String,
    calls: u64,
    /// What scripts threw and what the policy of a page forbade.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let process = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-extensions"])
            .args([
                "--ignore-certificate-errors",
                "--remote-debugging-port=0",
                "--window-size=1200,900",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs chromium: {error}"));
        let file = profile.path().join("DevToolsActivePort");
        let (port, path) = eventually("the browser listens", START, || {
            let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let (port, path) = text.trim().split_once('\n').ok_or("half a file")?;
            Ok((port.to_owned(), path.to_owned()))
        });
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        let (socket, _) =
            client_async(format!("ws://127.0.0.1:{port}{path}"), stream).await.unwrap();
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser =
            Self { process, socket, session, calls: 0, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut call = json!({"id": self.calls, "method": method, "params": parameters});
        if !self.session.is_empty() {
            call["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(call.to_string())).await.unwrap();
        loop {
            let Message::Text(text) = self.socket.next().await.expect("it goes on").unwrap() else {
                continue;
            };
            let said: Value = serde_json::from_str(&text).unwrap();
            if said["id"] == self.calls {
                assert!(said.get("error").is_none(), "{method}: {said}");
                return said["result"].clone();
            }
            self.note(&said);
        }
    }

    fn note(&mut self, said: &Value) {
        let entry = &said["params"]["entry"];
        // That the network refuses something is the server's affair.
        let logged = said["method"] == "Log.entryAdded"
            && entry["level"] == "error"
            && entry["source"] != "network";
        if logged || said["method"] == "Runtime.exceptionThrown" {
            self.complaints.push(said["params"].to_string());
        }
    }

    pub(crate) async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// The value of an expression.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let question =
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", question).await;
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(expression).await != true {
            if Instant::now() > deadline {
                let page = self.value("document.body.innerText").await;
                panic!("{expression} not within {PATIENCE:?}: {page}, {:?}", self.complaints);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for a link and goes where it leads.
    pub(crate) async fn follow(&mut self, link: &str) {
        self.until(&format!("document.querySelector({link:?}) !== null")).await;
        self.value(&format!("document.querySelector({link:?}).click()")).await;
    }

    /// Red, green and blue of a point of a PNG, found out by a window that shows nothing else.
    pub(crate) async fn pixel(&mut self, png: &[u8], x: &Value, y: &Value) -> Value {
        let png = serde_json::to_value(ByteString(png.to_vec())).unwrap();
        let png = format!("data:image/png;base64,{}", png.as_str().unwrap());
        let look = format!(
            "(async () => {{
                const image = new Image();
                image.src = {png:?};
                await image.decode();
                const canvas = document.createElement('canvas');
                [canvas.width, canvas.height] = [image.width, image.height];
                const context = canvas.getContext('2d');
                context.drawImage(image, 0, 0);
                return [...context.getImageData({x}, {y}, 1, 1).data].slice(0, 3);
            }})()"
        );
        self.value(&look).await
    }

    /// What the window shows, as PNG.
    pub(crate) async fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        serde_json::from_value::<ByteString>(shot["data"].clone()).unwrap().0
    }
}
