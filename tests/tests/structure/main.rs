//! Dependencies point downward only: the layers of the canister, and no circle among the files of
//! the canister and of the replica.

mod graph;

use std::collections::BTreeMap;
use std::path::PathBuf;

use graph::{Graph, Module};

/// The layers of `canister/src` from the top down. Modules of one layer do not use each other.
const LAYERS: &[&[&str]] = &[
    &["dispatch"],
    &["endpoints", "scheduler"],
    &["generations"],
    &["state"],
    &["kv_cache"],
    &["stable"],
    &["runtime"],
];

#[test]
fn the_canisters_layers_point_downward() {
    let wrong = wrong_arrows(&graph_of("canister"), LAYERS);
    assert!(wrong.is_empty(), "upward: {}", wrong.join(", "));
}

#[test]
fn the_canister_has_no_circles() {
    assert_no_circle("canister");
}

/// The layers of `replica/src` from the top down. The root is the state machine itself, whose
/// methods each layer adds in its own words (`impl Replica`).
const REPLICA_LAYERS: &[&[&str]] = &[
    &["http", "conformance"],
    &["checkpoint"],
    &["ingress", "query_state", "scheduler"],
    &["management"],
    &["messages"],
    &["replicated_state"],
    &["runtime"],
    &["modules", "memory"],
    &["storage", "limits", "cycles", "log", "types"],
];

#[test]
fn the_replicas_layers_point_downward() {
    let wrong = wrong_arrows(&graph_of("replica"), REPLICA_LAYERS);
    assert!(wrong.is_empty(), "upward: {}", wrong.join(", "));
}

#[test]
fn the_replica_has_no_circles() {
    assert_no_circle("replica");
}

#[test]
fn only_the_runtime_names_the_system() {
    let src = root().join("canister/src");
    let mut found = Vec::new();
    let mut open = vec![src.clone()];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().expect("canister/src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if !path.starts_with(src.join("runtime")) {
                let text = std::fs::read_to_string(&path).expect("a source file");
                // The attributes that export entry points are macros, not calls.
                let mut lines = text.lines().filter(|line| !line.starts_with("#[ic_cdk::"));
                if lines.any(|line| line.contains("ic0::") || line.contains("ic_cdk::")) {
                    found.push(path);
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "only runtime/ names the system: {found:?}"
    );
}

#[test]
fn an_upward_arrow_is_found() {
    let graph = graph(&[
        ("", "mod state; mod stable;"),
        ("state", "use crate::stable::Codec;"),
        ("stable", "fn f() { crate::state::f() }"),
    ]);
    let layers: &[&[&str]] = &[&["state"], &["stable"]];
    assert_eq!(wrong_arrows(&graph, layers), ["stable -> state"]);
}

#[test]
fn an_arrow_to_the_side_is_found() {
    let graph = graph(&[("", "mod a; mod b;"), ("a", "use crate::b;"), ("b", "")]);
    assert_eq!(wrong_arrows(&graph, &[&["a", "b"]]), ["a -> b"]);
}

#[test]
fn a_module_without_a_layer_is_found() {
    let graph = graph(&[("", "mod a; mod b;"), ("a", "use crate::b::f;"), ("b", "")]);
    assert_eq!(wrong_arrows(&graph, &[&["a"]]), ["b has no layer"]);
}

#[test]
fn circles_are_found_however_the_path_is_written() {
    for back in [
        "use crate::a::x;",
        "use crate::{a::{self, x}};",
        "use super::a;",
        "fn f() { crate::a::x() }",
        "fn f() -> crate::a::X { todo() }",
        "fn f() { println!(\"{}\", crate::a::x()) }",
        "mod inner { use super::super::a::x; }",
        "impl crate::a::T for B {}",
    ] {
        let graph = graph(&[("", "mod a; mod b;"), ("a", "use crate::b;"), ("b", back)]);
        assert_eq!(names(&graph), ["a b"], "{back}");
    }
}

#[test]
fn a_parent_and_its_child_can_be_a_circle() {
    let graph = graph(&[
        ("", "mod a;"),
        ("a", "mod b; pub fn f() { b::g() }"),
        ("a::b", "use super::f; pub fn g() {}"),
    ]);
    assert_eq!(names(&graph), ["a a::b"]);
}

#[test]
fn tests_may_use_what_they_like() {
    let graph = graph(&[
        ("", "mod a; mod b; #[cfg(test)] mod c;"),
        ("a", "use crate::b;"),
        (
            "b",
            "#[cfg(test)] mod tests { use crate::a; } #[cfg(test)] use crate::c;",
        ),
        ("c", "use crate::a;"),
    ]);
    assert!(names(&graph).is_empty());
    assert!(graph.modules().all(|module| module != &["c"]));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn graph_of(name: &str) -> Graph {
    Graph::of_crate(&root().join(name).join("src")).expect("the crate's sources")
}

fn graph(sources: &[(&str, &str)]) -> Graph {
    let sources: BTreeMap<Module, String> = sources
        .iter()
        .map(|(module, text)| {
            let names = module.split("::").filter(|name| !name.is_empty());
            (names.map(str::to_owned).collect(), (*text).to_owned())
        })
        .collect();
    Graph::of_sources(&sources).expect("sources")
}

fn names(graph: &Graph) -> Vec<String> {
    let name = |circle: Vec<&Module>| {
        let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
        names.join(" ")
    };
    graph.circles().into_iter().map(name).collect()
}

fn assert_no_circle(name: &str) {
    let circles = names(&graph_of(name));
    assert!(circles.is_empty(), "circles of {name}/src: {circles:#?}");
}

/// The arrows that do not lead from a layer to a lower one or stay in one module of the root.
fn wrong_arrows(graph: &Graph, layers: &[&[&str]]) -> Vec<String> {
    let layer = |name: &str| layers.iter().position(|layer| layer.contains(&name));
    let mut wrong = Vec::new();
    for module in graph.modules() {
        if let [name] = module.as_slice()
            && layer(name).is_none()
        {
            wrong.push(format!("{name} has no layer"));
        }
    }
    for (user, used) in graph.arrows() {
        let (Some(from), Some(to)) = (user.first(), used.first()) else {
            continue;
        };
        let (Some(upper), Some(lower)) = (layer(from), layer(to)) else {
            continue;
        };
        if from != to && upper >= lower {
            wrong.push(format!("{} -> {}", user.join("::"), used.join("::")));
        }
    }
    wrong
}
