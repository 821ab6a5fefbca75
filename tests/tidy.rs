//! The arrows between crates, and what every source file owes its reader.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Crate → the crates of ours it may depend on. Adding an arrow is an edit here, seen in review.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("keeper-client", &["protocol"]),
    ("keeper-core", &["protocol"]),
    ("broker-core", &["keeper-client", "protocol"]),
    ("client-core", &["keeper-client", "protocol"]),
    ("history", &["protocol"]),
    ("reports", &["history", "protocol"]),
    (
        "sim",
        &[
            "broker-core",
            "client-core",
            "history",
            "keeper-client",
            "keeper-core",
            "protocol",
        ],
    ),
    ("ktrial", &["history", "protocol", "reports", "sim"]),
];

/// What a core may use besides our own crates: nothing that knows time, threads, sockets or chance.
const CORE_DEPENDENCIES: &[&str] = &[
    "adler2",
    "bytes",
    "crc32c",
    "regex-lite",
    "serde",
    "serde_json",
    "strsim",
];

/// Each package with its dependencies' names, and whether each is for its tests only.
fn packages() -> BTreeMap<String, Vec<(String, bool)>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let named = dependencies.map(|dependency| {
            let name = dependency["name"].as_str().unwrap().to_owned();
            (name, dependency["kind"].as_str() == Some("dev"))
        });
        packages.insert(
            package["name"].as_str().unwrap().to_owned(),
            named.collect(),
        );
    }
    packages
}

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let packages = packages();
    let drawn: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        packages.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        drawn
    );
    for (name, allowed) in ARROWS {
        for (dependency, dev) in &packages[*name] {
            if drawn.contains(dependency.as_str()) && !dev {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{name} may not depend on {dependency}"
                );
            }
        }
    }
}

#[test]
fn cores_use_no_clock_thread_socket_or_chance() {
    let packages = packages();
    for core in [
        "protocol",
        "keeper-client",
        "keeper-core",
        "broker-core",
        "client-core",
    ] {
        for (dependency, dev) in &packages[core] {
            let ours = ARROWS.iter().any(|(name, _)| name == dependency);
            let pure = CORE_DEPENDENCIES.contains(&dependency.as_str());
            assert!(*dev || ours || pure, "{core} may not use {dependency}");
        }
    }
}

#[test]
fn madsim_is_named_in_sim_only() {
    for (name, dependencies) in packages() {
        let uses = dependencies
            .iter()
            .any(|(dependency, _)| dependency == "madsim");
        assert_eq!(uses, name == "sim", "{name}");
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 100);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} does not say what it is",
            file.display()
        );
    }
}

/// What the page of tests puts between backticks and looks like a sentence is the name of a test.
#[test]
fn every_test_that_the_page_of_tests_names_is_there() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    let code: String = texts.collect();
    let page = std::fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let is_sentence = |text: &&str| {
        text.matches('_').count() > 3
            && text
                .bytes()
                .all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let named: Vec<&str> = quoted.filter(is_sentence).collect();
    assert!(named.len() > 50);
    for test in named {
        assert!(
            code.contains(&format!("fn {test}()")),
            "no test is called {test}"
        );
    }
}
