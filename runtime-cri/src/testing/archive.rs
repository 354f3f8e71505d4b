use super::PAUSE_IMAGE;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What the archive is made from; statically linked, from the package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DIRECTORIES: [&str; 9] =
    ["bin/", "dev/", "etc/", "home/", "proc/", "root/", "sys/", "tmp/", "var/"];

/// An image of one layer: busybox with all its commands, and a few empty directories.
#[derive(Debug, Clone)]
pub struct TestImage {
    /// Its name, in full.
    pub name: String,
    /// What its containers run.
    pub entrypoint: Vec<String>,
    /// The arguments, or the whole command, unless a container has others.
    pub command: Vec<String>,
}

/// Writes an image that runs a shell.
///
/// # Errors
/// When busybox is missing or the archive cannot be written.
pub fn busybox_image(path: impl AsRef<Path>, name: &str) -> io::Result<()> {
    let command = vec!["sh".to_owned()];
    TestImage { name: name.to_owned(), entrypoint: Vec::new(), command }.write(path)
}

/// Writes the image of sandboxes, which sleeps for ever.
///
/// # Errors
/// When busybox is missing or the archive cannot be written.
pub fn pause_image(path: impl AsRef<Path>) -> io::Result<()> {
    let entrypoint = ["/bin/busybox", "sleep", "2147483647"].map(str::to_owned).to_vec();
    TestImage { name: PAUSE_IMAGE.to_owned(), entrypoint, command: Vec::new() }.write(path)
}

impl TestImage {
    /// Writes the image to a file that `ctr images import` and `docker load` read.
    ///
    /// # Errors
    /// When busybox is missing or the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let layer = layer()?;
        let config = self.config(&hex(&layer));
        let config_name = format!("{}.json", hex(config.as_bytes()));
        let manifest = format!(
            "[{{\"Config\":{},\"RepoTags\":[{}],\"Layers\":[\"layer.tar\"]}}]",
            quoted(&config_name),
            quoted(&self.name)
        );
        let mut archive = Tar::default();
        archive.file(&config_name, 0o644, config.as_bytes());
        archive.file("layer.tar", 0o644, &layer);
        archive.file("manifest.json", 0o644, manifest.as_bytes());
        fs::write(path, archive.finish())
    }

    fn config(&self, layer: &str) -> String {
        format!(
            "{{\"architecture\":{},\"os\":\"linux\",\"created\":\"2024-01-01T00:00:00Z\",\
             \"config\":{{\"Env\":[{}],\"Entrypoint\":{},\"Cmd\":{},\"WorkingDir\":\"/\"}},\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:{layer}\"]}},\
             \"history\":[{{\"created_by\":\"kubeplane\"}}]}}",
            quoted(architecture()),
            quoted(PATH),
            list(&self.entrypoint),
            list(&self.command),
        )
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn layer() -> io::Result<Vec<u8>> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("{BUSYBOX} (package busybox-static): {error}"))
    };
    let busybox = fs::read(BUSYBOX).map_err(named)?;
    let listed = Command::new(BUSYBOX).arg("--list").output().map_err(named)?;
    let mut tar = Tar::default();
    for directory in DIRECTORIES {
        tar.directory(directory, if directory == "tmp/" { 0o1777 } else { 0o755 });
    }
    tar.file("bin/busybox", 0o755, &busybox);
    for command in String::from_utf8_lossy(&listed.stdout).lines() {
        if command != "busybox" && !command.is_empty() {
            tar.link(&PathBuf::from("bin").join(command).to_string_lossy(), "busybox");
        }
    }
    tar.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    );
    tar.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    Ok(tar.finish())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(","))
}

/// A tar archive in memory; names are short enough for its oldest form.
#[derive(Default)]
struct Tar {
    bytes: Vec<u8>,
}

const BLOCK: usize = 512;

impl Tar {
    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.header(name, mode, content.len(), b'0', "");
        self.bytes.extend_from_slice(content);
        let end = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(end, 0);
    }

    fn directory(&mut self, name: &str, mode: u32) {
        self.header(name, mode, 0, b'5', "");
    }

    fn link(&mut self, name: &str, target: &str) {
        self.header(name, 0o777, 0, b'2', target);
    }

    fn header(&mut self, name: &str, mode: u32, size: usize, kind: u8, target: &str) {
        let mut block = [0_u8; BLOCK];
        let mut put = |at: usize, text: &str| {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{size:011o}"));
        put(136, "00000000000");
        put(148, "        ");
        put(157, target);
        put(257, "ustar\u{0}00");
        block[156] = kind;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&block);
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }
}
