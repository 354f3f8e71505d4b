//! A network for pods where nobody else has configured one.

use crate::{Error, Result};
use ipnet::IpNet;
use serde_json::json;
use std::{fs, path::Path};

const FILE: &str = "10-kubeplane.conflist";

/// Writes a bridge network with addresses from `range`, unless another network is configured.
pub(crate) fn ensure(dir: &Path, range: IpNet) -> Result<()> {
    let foreign = fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_config = [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
        is_config && name != FILE
    });
    if foreign {
        return Ok(());
    }
    let path = dir.join(FILE);
    let text = config(range);
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(|error| Error::file(dir, error))?;
    // Under another name first: runtimes watch the directory.
    let draft = dir.join(".10-kubeplane.draft");
    fs::write(&draft, text).map_err(|error| Error::file(&draft, error))?;
    fs::rename(&draft, &path).map_err(|error| Error::file(&path, error))
}

fn config(range: IpNet) -> String {
    // Two clusters on one machine have different ranges, and so different bridges.
    let hash = range
        .trunc()
        .to_string()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let everything = if range.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
    let value = json!({
        "cniVersion": "0.4.0",
        "name": "kubeplane",
        "plugins": [
            {
                "type": "bridge",
                "bridge": format!("kp{hash:08x}"),
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "promiscMode": false,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": range.trunc().to_string()}]],
                    "routes": [{"dst": everything}]
                }
            },
            {"type": "portmap", "capabilities": {"portMappings": true}}
        ]
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_written_once_and_never_over_another() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("net.d");
        ensure(&own, "10.244.3.0/24".parse().unwrap()).unwrap();
        let text = fs::read_to_string(own.join(FILE)).unwrap();
        assert!(text.contains("10.244.3.0/24"));
        ensure(&own, "10.244.4.0/24".parse().unwrap()).unwrap();
        assert!(fs::read_to_string(own.join(FILE)).unwrap().contains("10.244.4.0/24"));
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("05-calico.conflist"), "{}").unwrap();
        ensure(&other, "10.244.3.0/24".parse().unwrap()).unwrap();
        assert!(!other.join(FILE).exists());
    }
}
