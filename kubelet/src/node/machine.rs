use crate::{admit::Amounts, config::KubeletConfig};
use k8s_openapi::{
    api::core::v1::NodeSystemInfo, apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::Quantity;
use std::{collections::BTreeMap, fs, path::Path};

/// What is kept back from pods so that the machine itself does not run out.
const RESERVED_MEMORY: u64 = 100 << 20;

/// What this machine is and has.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) capacity: BTreeMap<String, ApiQuantity>,
    pub(crate) allocatable: BTreeMap<String, ApiQuantity>,
    pub(crate) info: NodeSystemInfo,
}

impl Machine {
    /// Looks at the machine this process runs on.
    pub(crate) fn read(config: &KubeletConfig) -> Self {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = total_memory(&meminfo);
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let disk = disk_size(&config.data_dir);
        let mut capacity = BTreeMap::from([
            ("cpu".to_owned(), ApiQuantity(cpus.to_string())),
            ("memory".to_owned(), ApiQuantity(format!("{}Ki", memory >> 10))),
            ("ephemeral-storage".to_owned(), ApiQuantity(format!("{}Ki", disk >> 10))),
            ("pods".to_owned(), ApiQuantity(config.max_pods.to_string())),
        ]);
        capacity.extend(huge_pages());
        let mut allocatable = capacity.clone();
        let usable = memory.saturating_sub(RESERVED_MEMORY);
        allocatable.insert("memory".to_owned(), ApiQuantity(format!("{}Ki", usable >> 10)));
        let disk = disk - disk / 10;
        allocatable.insert("ephemeral-storage".to_owned(), ApiQuantity(disk.to_string()));
        Self { memory, capacity, allocatable, info: info() }
    }

    /// What pods can have, as numbers.
    pub(crate) fn allocatable_amounts(&self) -> Amounts {
        let amounts = self.allocatable.iter();
        amounts.map(|(name, amount)| (name.clone(), Quantity::from_api(amount))).collect()
    }
}

fn total_memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn disk_size(path: &Path) -> u64 {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    rustix::fs::statvfs(existing).map_or(0, |stat| stat.f_blocks * stat.f_frsize)
}

fn huge_pages() -> BTreeMap<String, ApiQuantity> {
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let pages = sizes.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
        let bytes = (count.trim().parse::<u64>().ok()? * kib) << 10;
        let size =
            if kib >= 1 << 20 { format!("{}Gi", kib >> 20) } else { format!("{}Mi", kib >> 10) };
        Some((format!("hugepages-{size}"), ApiQuantity(bytes.to_string())))
    });
    pages.collect()
}

/// Go's name of an architecture.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn info() -> NodeSystemInfo {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let machine_id = line("/etc/machine-id");
    let system = line("/sys/class/dmi/id/product_uuid");
    let uname = rustix::system::uname();
    let version = "v1.36.0+kubeplane".to_owned();
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        kubelet_version: version,
        // The original leaves this empty since the field is deprecated.
        kube_proxy_version: String::new(),
        system_uuid: if system.is_empty() { machine_id.clone() } else { system },
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: pretty.unwrap_or_default().trim_matches('"').to_owned(),
        ..NodeSystemInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something_to_give() {
        let machine = Machine::read(&KubeletConfig::new("node"));
        assert!(machine.memory > RESERVED_MEMORY);
        assert_eq!(machine.capacity["pods"].0, "110");
        let amounts = machine.allocatable_amounts();
        assert!(amounts["cpu"].value() >= 1);
        assert!(amounts["memory"] < Quantity::from_api(&machine.capacity["memory"]));
        assert!(!machine.info.kernel_version.is_empty());
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:       2048 kB\n"), 2 << 20);
    }
}
