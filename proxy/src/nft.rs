//! Running the `nft` program.

use crate::{Error, Result};
use std::process::{Output, Stdio};
use tokio::{io::AsyncWriteExt, process::Command};

/// What is kept of nft's complaints, in bytes.
const MAX_COMPLAINT: usize = 2048;

/// Runs one transaction: all of it or nothing.
///
/// # Cancellation
/// nft is killed; the kernel has done all of the transaction or nothing.
pub(crate) async fn run(transaction: &str) -> Result<()> {
    let output = feed(&["-f", "-"], transaction).await?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Refused { lines: transaction.lines().count(), reason: complaint(&output) })
}

/// Whether a chain exists.
pub(crate) async fn has_chain(family: &str, table: &str, chain: &str) -> Result<bool> {
    let output = feed(&["list", "chain", family, table, chain], "").await?;
    Ok(output.status.success())
}

/// Whether nftables can be changed in this network namespace.
pub(crate) async fn check() -> Result<(), String> {
    let table = "add table ip kubeplane-proxy\n";
    let output = match feed(&["--check", "-f", "-"], table).await {
        Ok(output) => output,
        Err(error) => return Err(error.to_string()),
    };
    if output.status.success() { Ok(()) } else { Err(complaint(&output)) }
}

async fn feed(arguments: &[&str], input: &str) -> Result<Output> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // nft that ends early says why by itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    Ok(output?)
}

fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let mut end = text.len().min(MAX_COMPLAINT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim().to_owned()
}
