//! Calls the store does not make, over etcd's JSON gateway.

use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

/// Makes a call; `None` when nobody answers in time.
pub(crate) fn try_call(url: &str, path: &str, body: &Value, token: &str) -> Option<Value> {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let body = body.to_string();
    let token =
        if token.is_empty() { String::new() } else { format!("Authorization: {token}\r\n") };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: etcd\r\n{token}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let start = answer.find('{')?;
    let end = answer.rfind('}')?;
    serde_json::from_str(&answer[start..=end]).ok()
}

/// Makes a call that must succeed.
pub(crate) fn call(url: &str, path: &str, body: &Value, token: &str) -> Value {
    let answer = try_call(url, path, body, token).unwrap_or_else(|| panic!("{path}: no answer"));
    assert!(answer.get("error").is_none(), "{path}: {answer}");
    answer
}

/// What etcd counts under a name, summed over the rows that have all of these labels.
pub(crate) fn metric(url: &str, name: &str, labels: &[&str]) -> u64 {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The older protocol has no chunks, which could come in the middle of a line.
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: etcd\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("# TYPE {name} ")), "etcd does not count {name}");
    let rows = answer.lines().filter(|row| {
        let own = row.split(['{', ' ']).next();
        own == Some(name) && labels.iter().all(|label| row.contains(label))
    });
    let counts = rows.map(|row| row.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    counts.sum::<f64>() as u64
}

/// The users and roles that [`enable_users`] makes.
pub(crate) const ROOT: (&str, &str) = ("root", "the password of root");
pub(crate) const LIMITED: (&str, &str) = ("limited", "the password of limited");

/// Makes `root`, and `limited` who may use keys below `/registry/` only; then etcd wants to know who is there.
pub(crate) fn enable_users(url: &str) {
    let base64 = |text: &str| {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in text.as_bytes().chunks(3) {
            let word = u32::from_be_bytes([
                0,
                chunk[0],
                chunk.get(1).copied().unwrap_or(0),
                chunk.get(2).copied().unwrap_or(0),
            ]);
            for place in 0..4 {
                let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
                out.push(if place <= chunk.len() { letter.into() } else { '=' });
            }
        }
        out
    };
    for (name, password) in [ROOT, LIMITED] {
        let user = serde_json::json!({"name": name, "password": password});
        call(url, "/v3/auth/user/add", &user, "");
        call(url, "/v3/auth/role/add", &serde_json::json!({"name": name}), "");
        let grant = serde_json::json!({"user": name, "role": name});
        call(url, "/v3/auth/user/grant", &grant, "");
    }
    let range = serde_json::json!({
        "permType": "READWRITE", "key": base64("/registry/"), "range_end": base64("/registry0"),
    });
    let grant = serde_json::json!({"name": LIMITED.0, "perm": range});
    call(url, "/v3/auth/role/grant", &grant, "");
    call(url, "/v3/auth/enable", &serde_json::json!({}), "");
}
