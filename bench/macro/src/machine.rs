//! The circumstances: what a figure is worthless without.
//!
//! Everything is read, nothing is changed. What cannot be read is said to be unknown, never guessed.

use crate::contestant::Programs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

#[derive(Debug, Serialize)]
pub struct Machine {
    /// Short and neutral: names the folder of the baselines.
    pub slug: String,
    pub cpu: String,
    pub cpus: usize,
    pub memory: String,
    pub kernel: String,
    pub clock: String,
    pub governor: String,
    /// As the kernel states them, one per known weakness; those it is not subject to are left out.
    pub mitigations: BTreeMap<String, String>,
    pub network: BTreeMap<String, String>,
    /// Runnable tasks over the last minute, when the run began.
    pub load_average: String,
    /// Of the checkout this program was built from; `-dirty` if something is not committed.
    pub commit: String,
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// `slug`: the operator's own name for this machine.
    pub fn look(programs: &Programs, slug: Option<String>) -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo_field(&cpuinfo, "model name").unwrap_or_else(unknown);
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
        let clocks = line_of("/sys/devices/system/clocksource/clocksource0/available_clocksource");
        let host = match cpuinfo_field(&cpuinfo, "flags") {
            Some(flags) if !flags.split(' ').any(|flag| flag == "hypervisor") => "metal",
            _ if clocks.contains("kvm-clock") => "kvm",
            _ => "vm",
        };
        Machine {
            slug: slug.unwrap_or_else(|| make_slug(host, cpus, &cpu)),
            cpu,
            cpus,
            memory: fs::read_to_string("/proc/meminfo")
                .ok()
                .and_then(|text| cpuinfo_field(&text, "MemTotal"))
                .unwrap_or_else(unknown),
            kernel: line_of("/proc/sys/kernel/osrelease"),
            clock: line_of("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            governor: match line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
                found if found == unknown() => "not visible here".to_owned(),
                found => found,
            },
            mitigations: mitigations(),
            network: ["tcp_congestion_control", "tcp_rmem", "tcp_wmem", "tcp_tw_reuse"]
                .into_iter()
                .map(|key| (key.to_owned(), line_of(format!("/proc/sys/net/ipv4/{key}")).replace('\t', " ")))
                .collect(),
            load_average: line_of("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            commit: commit(),
            versions: versions(programs),
        }
    }
}

/// `kvm-2vcpu-xeon`: kind of machine, cores, family.
fn make_slug(host: &str, cpus: usize, cpu: &str) -> String {
    const FAMILIES: [&str; 9] = ["xeon", "epyc", "ryzen", "core", "neoverse", "graviton", "ampere", "cortex", "power"];
    let cpu = cpu.to_lowercase();
    let is_word = |family: &&&str| cpu.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == **family);
    let family = FAMILIES.iter().find(is_word).unwrap_or(&"cpu");
    let cores = if host == "metal" { "cpu" } else { "vcpu" };
    format!("{host}-{cpus}{cores}-{family}")
}

fn mitigations() -> BTreeMap<String, String> {
    let Ok(folder) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return BTreeMap::new();
    };
    folder
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let state = line_of(entry.path());
            (state != "Not affected").then(|| (entry.file_name().to_string_lossy().into_owned(), state))
        })
        .collect()
}

fn versions(programs: &Programs) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    versions.insert("floor".to_owned(), format!("bench-macro {}", env!("CARGO_PKG_VERSION")));
    if let Some(program) = &programs.nginx {
        // It tells its version where others tell their errors.
        let output = Command::new(program).arg("-v").output().map(|output| output.stderr).unwrap_or_default();
        let line = String::from_utf8_lossy(&output).lines().next().map_or_else(unknown, str::to_owned);
        versions.insert("nginx".to_owned(), line.trim_start_matches("nginx version: ").to_owned());
    }
    if let Some(program) = &programs.haproxy {
        versions.insert("haproxy".to_owned(), first_line(Command::new(program).arg("-v")));
    }
    if let Some(program) = &programs.sluicegate {
        versions.insert("sluicegate".to_owned(), first_line(Command::new(program).arg("version")));
    }
    versions
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short=10", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit}-dirty"),
        (None, _) => unknown(),
    }
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().map_or_else(unknown, str::to_owned)
}

fn line_of(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

/// The first `key : value`, as `/proc/cpuinfo` and `/proc/meminfo` write them.
fn cpuinfo_field(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == key).then(|| value.trim().to_owned())
    })
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slug_says_kind_cores_and_family() {
        fn check(host: &str, cpus: usize, cpu: &str, expected: &str) {
            assert_eq!(make_slug(host, cpus, cpu), expected);
        }
        check("kvm", 2, "Intel(R) Xeon(R) Processor", "kvm-2vcpu-xeon");
        check("metal", 16, "AMD Ryzen 9 7950X 16-Core Processor", "metal-16cpu-ryzen");
        check("vm", 4, "Neoverse-N1", "vm-4vcpu-neoverse");
        check("vm", 4, "unknown", "vm-4vcpu-cpu");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 207\nmodel name\t: A Chip\nmodel name\t: Another\n";
        assert_eq!(cpuinfo_field(text, "model name").as_deref(), Some("A Chip"));
        assert_eq!(cpuinfo_field(text, "name"), None);
    }
}
