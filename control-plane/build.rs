//! Asks for a program that takes less memory, of linkers that can make one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Relocations as a bitmap, a hundredth of their size as a table. Needs glibc 2.36 wherever the program runs, which the
/// machine that builds it must have too.
const PACKED: &str = "-Wl,-z,pack-relative-relocs";
/// The functions that a start runs, as `cargo xtask layout` lists them; put together, they take a fifth of the pages.
const LIST: &str = "layout/x86_64-linux-gnu.txt";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LIST}");
    let own = |name: &str| env::var_os(name).unwrap_or_default();
    // What is only tested need not be small, and what is built for another machine cannot be tried here.
    if own("PROFILE") != "release" || own("HOST") != own("TARGET") {
        return;
    }
    let directory = PathBuf::from(own("OUT_DIR"));
    let mut wishes = vec![PACKED.to_owned()];
    if own("TARGET") == "x86_64-unknown-linux-gnu" {
        let list = Path::new(&own("CARGO_MANIFEST_DIR")).join(LIST);
        // A name that is not there any more is no reason to say anything.
        let order = "-Wl,--no-warn-symbol-ordering,--symbol-ordering-file";
        wishes.push(format!("{order}={}", list.display()));
    }
    for wish in wishes.iter().filter(|wish| works(wish, &directory)) {
        println!("cargo::rustc-link-arg-bins={wish}");
    }
}

/// Whether a program that is linked so can be made, and starts.
fn works(wish: &str, directory: &Path) -> bool {
    let (source, program) = (directory.join("probe.rs"), directory.join("probe"));
    if fs::write(&source, "fn main() {}").is_err() {
        return false;
    }
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.arg(format!("-Clink-arg={wish}")).arg(source).arg("-o").arg(&program);
    succeeds(&mut rustc) && succeeds(&mut Command::new(program))
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
