//! Who depends on whom, as Cargo resolved it.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// The packages of the workspace and everything they reach on this platform.
pub struct Graph {
    pub members: BTreeMap<String, Member>,
    /// Package id → name.
    names: BTreeMap<String, String>,
    /// Package id → what it needs to be built and to run.
    needs: BTreeMap<String, BTreeSet<String>>,
}

/// One package of the workspace.
pub struct Member {
    id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Roots of its library and its binaries.
    pub roots: Vec<PathBuf>,
    /// Names that its manifest asks for, by any kind of dependency.
    pub asks_for: BTreeSet<String>,
}

impl Graph {
    pub fn read() -> Graph {
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform])
            .current_dir(crate::root())
            .output()
            .expect("cargo can be started");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
        Graph::from(&metadata)
    }

    fn from(metadata: &Value) -> Graph {
        let ours: BTreeSet<&str> = list(&metadata["workspace_members"]).map(text).collect();
        let names = list(&metadata["packages"]).map(|package| (owned(&package["id"]), owned(&package["name"])));
        let members = list(&metadata["packages"])
            .filter(|package| ours.contains(text(&package["id"])))
            .map(|package| (owned(&package["name"]), Member::from(package)));
        let needs = list(&metadata["resolve"]["nodes"]).map(|node| (owned(&node["id"]), needs_of(node)));
        Graph { members: members.collect(), names: names.collect(), needs: needs.collect() }
    }

    pub fn member(&self, name: &str) -> &Member {
        self.members.get(name).unwrap_or_else(|| panic!("there is no package `{name}`"))
    }

    /// Names of all packages that `member` needs to be built or to run, itself left out. Not what only its tests need.
    pub fn reaches(&self, member: &str) -> BTreeSet<&str> {
        let start = &self.member(member).id;
        let (mut found, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(id) = open.pop() {
            let fresh = self.needs.get(id).into_iter().flatten().filter(|need| !found.contains(*need));
            let fresh: Vec<&String> = fresh.collect();
            found.extend(fresh.iter().copied());
            open.extend(fresh);
        }
        found.into_iter().map(|id| self.names[id].as_str()).collect()
    }

    /// The packages of the workspace among those that `member`'s manifest asks for.
    pub fn asks_for_ours(&self, member: &str) -> BTreeSet<&str> {
        let asks_for = self.member(member).asks_for.iter().map(String::as_str);
        asks_for.filter(|name| self.members.contains_key(*name)).collect()
    }
}

impl Member {
    fn from(package: &Value) -> Member {
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        let is_root = |target: &&Value| list(&target["kind"]).any(|kind| ["lib", "bin"].contains(&text(kind)));
        Member {
            id: owned(&package["id"]),
            folder: manifest.parent().expect("a manifest lies in a folder").to_owned(),
            roots: list(&package["targets"]).filter(is_root).map(|target| text(&target["src_path"]).into()).collect(),
            asks_for: list(&package["dependencies"]).map(|dependency| owned(&dependency["name"])).collect(),
        }
    }
}

/// Dependencies of a resolved package that are not for its tests only.
fn needs_of(node: &Value) -> BTreeSet<String> {
    let needed = |dependency: &&Value| list(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev");
    list(&node["deps"]).filter(needed).map(|dependency| owned(&dependency["pkg"])).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("cargo metadata has a list here").iter()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has a text here")
}

fn owned(value: &Value) -> String {
    text(value).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_tests_need_is_not_reached() {
        let dependency = |pkg: &str, kind: Value| json!({"pkg": pkg, "dep_kinds": [{"kind": kind}]});
        let package = |id: &str| json!({"id": id, "name": id, "manifest_path": "/x/Cargo.toml", "targets": [], "dependencies": []});
        let metadata = json!({
            "workspace_members": ["a"],
            "packages": [package("a"), package("b"), package("c"), package("d")],
            "resolve": {"nodes": [
                {"id": "a", "deps": [dependency("b", Value::Null), dependency("d", json!("dev"))]},
                {"id": "b", "deps": [dependency("c", json!("build"))]},
                {"id": "c", "deps": [dependency("b", Value::Null)]},
                {"id": "d", "deps": []},
            ]},
        });
        assert_eq!(Graph::from(&metadata).reaches("a"), BTreeSet::from(["b", "c"]));
    }
}
