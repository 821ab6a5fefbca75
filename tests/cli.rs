//! The command line from outside: stdout, stderr and exit codes of mistakes and of the small commands.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs ktrial at the repository's root; gives exit code, stdout and stderr as one text.
fn ktrial(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ktrial"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    format!("exit {code}\n--- stdout\n{stdout}--- stderr\n{stderr}")
}

/// A scenario file of its own for each test, in the build's scratch folder, named without the machine's path.
fn with_scenario(name: &str, content: &[u8]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path: PathBuf = folder.join(format!("{name}.toml"));
    std::fs::write(&path, content).unwrap();
    let shown = path.display().to_string();
    ktrial(&["run", &shown]).replace(&shown, &format!("{name}.toml"))
}

const HEAD: &str = "title = 't'\nquestion = 'q?'\nduration = '10s'\n";

fn scenario(rest: &str) -> Vec<u8> {
    format!("{HEAD}{rest}").into_bytes()
}

#[test]
fn a_wrong_type_is_told_with_place_and_hint() {
    let text = with_scenario(
        "wrong-type",
        b"title = 't'\nquestion = 'q?'\nduration = 10\n",
    );
    insta::assert_snapshot!(text);
}

#[test]
fn an_unknown_key_is_told_with_what_was_meant() {
    insta::assert_snapshot!(with_scenario(
        "unknown-key",
        &scenario("[cluster]\nbroker_count = 3\n")
    ));
}

#[test]
fn a_fault_on_a_node_that_does_not_exist_is_refused() {
    let text = scenario("[[fault]]\nkind = 'kill'\ntarget = 'broker 7'\nat = '1s'\n");
    insta::assert_snapshot!(with_scenario("no-such-node", &text));
}

#[test]
fn a_key_that_means_nothing_to_the_fault_is_refused() {
    let text =
        scenario("[[fault]]\nkind = 'kill'\ntarget = 'broker 1'\nat = '1s'\nfor = '2s'\nppm = 5\n");
    insta::assert_snapshot!(with_scenario("key-without-meaning", &text));
}

#[test]
fn a_zookeeper_consumer_pauses_no_partition() {
    let text = scenario(
        "cluster.era = '0.9'\n[[topic]]\nname = 'jobs'\n\
         [[consumer]]\nname = 'w'\napi = 'old'\ngroup = 'g'\ntopics = ['jobs']\n\
         pause = { partition = 'jobs-0', after = 5, for = '2s' }\n",
    );
    insta::assert_snapshot!(with_scenario("old-with-pause", &text));
}

#[test]
fn an_older_disk_must_have_been_remembered() {
    let text =
        scenario("[[fault]]\nkind = 'restart'\ntarget = 'broker 1'\nat = '1s'\ndisk = 'older'\n");
    insta::assert_snapshot!(with_scenario("no-snapshot", &text));
}

#[test]
fn a_file_must_be_one_that_the_node_has() {
    let text =
        scenario("[[fault]]\nkind = 'corrupt'\ntarget = 'keeper 1'\nfile = 'index'\nat = '1s'\n");
    insta::assert_snapshot!(with_scenario("no-such-file", &text));
}

#[test]
fn a_message_must_be_able_to_name_what_is_asked_for() {
    let text = scenario(
        "[[fault]]\nkind = 'hold'\nmessage = 'Fetch request'\npath = '/controller'\nat = '1s'\n\
         [[fault]]\nkind = 'reorder'\nmessage = 'keeper request'\nleader_epoch = 2\nat = '1s'\n",
    );
    insta::assert_snapshot!(with_scenario("no-such-content", &text));
}

#[test]
fn a_time_after_the_end_is_refused() {
    let text = scenario("[[fault]]\nkind = 'kill'\ntarget = 'broker 1'\nat = '11s'\n");
    insta::assert_snapshot!(with_scenario("after-the-end", &text));
}

#[test]
fn too_many_replicas_get_kafkas_own_error() {
    let text = scenario("[[topic]]\nname = 'orders'\nreplication_factor = 5\n");
    insta::assert_snapshot!(with_scenario("too-many-replicas", &text));
}

#[test]
fn empty_binary_and_missing_files_are_told_apart() {
    let empty = with_scenario("empty", b"");
    let binary = with_scenario("binary", &[0x7f, b'E', b'L', b'F', 0xff, 0xfe]);
    let missing = ktrial(&["run", "no-such-file.toml"]);
    insta::assert_snapshot!(format!("{empty}\n{binary}\n{missing}"));
}

#[test]
fn a_misspelt_kafka_key_warns_where_kafka_ignores_it() {
    let text = scenario("[cluster.config]\n\"message.max.byte\" = 5242880\n");
    let told = with_scenario("misspelt", &text);
    assert!(told.starts_with("exit 0"), "{told}");
    let stderr = told.split("--- stderr").nth(1).unwrap();
    insta::assert_snapshot!(stderr);
}

#[test]
fn a_history_cut_in_the_middle_is_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let whole = folder.join("whole.jsonl");
    let whole_name = whole.to_str().unwrap();
    let file = "scenarios/05-duplicate-after-lost-ack.toml";
    let told = ktrial(&["run", file, "--variant", "plain", "--history", whole_name]);
    assert!(told.starts_with("exit 0"), "{told}");
    let judged = ktrial(&["check", whole_name]);
    assert!(judged.starts_with("exit 0"), "{judged}");
    let text = std::fs::read_to_string(&whole).unwrap();
    let half: String = text.split_inclusive('\n').take(100).collect();
    let cut = folder.join("cut.jsonl");
    std::fs::write(&cut, half).unwrap();
    let told =
        ktrial(&["check", cut.to_str().unwrap()]).replace(cut.to_str().unwrap(), "cut.jsonl");
    insta::assert_snapshot!(told);
}

#[test]
fn a_scenario_is_no_history_and_a_history_no_scenario() {
    let scenario = "scenarios/01-kill-nine.toml";
    let told = ktrial(&["check", scenario]);
    assert!(told.starts_with("exit 2"), "{told}");
    let cure = "`ktrial run scenarios/01-kill-nine.toml` runs it and judges";
    assert!(told.contains(cure), "{told}");
    let history = "history/testdata/pa-bad.jsonl";
    let told = ktrial(&["run", history]);
    assert!(told.starts_with("exit 2"), "{told}");
    let cure = "`ktrial check history/testdata/pa-bad.jsonl` judges it";
    assert!(told.contains(cure), "{told}");
}

#[test]
fn a_history_cut_within_a_line_is_refused() {
    let cut = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cut-line.jsonl");
    let cut_name = cut.to_str().unwrap();
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("history/testdata/pa-bad.jsonl");
    let text = std::fs::read_to_string(whole).unwrap();
    let end = text.find("\"step\":3").unwrap();
    std::fs::write(&cut, &text[..end]).unwrap();
    let told = ktrial(&["check", cut_name]).replace(cut_name, "cut-line.jsonl");
    assert!(told.starts_with("exit 2"), "{told}");
    assert!(
        told.contains("the line ends in the middle: the history was cut here"),
        "{told}"
    );
}

#[test]
fn a_number_of_another_kind_is_told_in_the_words_of_the_file() {
    let text = scenario("[[topic]]\nname = 'orders'\npartitions = 'many'\n");
    insta::assert_snapshot!(with_scenario("no-number", &text));
}

#[test]
fn what_is_no_toml_is_told_as_that() {
    insta::assert_snapshot!(with_scenario("no-toml", &scenario("seed = = 2\n")));
}

#[test]
fn a_sweep_without_seeds_and_a_variant_of_none_are_wrong_usage() {
    let file = "scenarios/03-acks-one.toml";
    let seeds = ktrial(&["sweep", file, "--seeds", "0"]);
    assert!(seeds.starts_with("exit 2"), "{seeds}");
    let variant = ktrial(&["run", file, "--variant", "plain"]);
    assert!(variant.starts_with("exit 2"), "{variant}");
    assert!(variant.contains("this scenario has none"), "{variant}");
}

#[test]
fn an_unknown_variant_and_an_unknown_code_get_a_hint() {
    let variant = ktrial(&[
        "run",
        "scenarios/05-duplicate-after-lost-ack.toml",
        "--variant",
        "plane",
    ]);
    let code = ktrial(&["describe", "losst"]);
    let nowhere_near = ktrial(&["describe", "nonsense"]);
    insta::assert_snapshot!(format!("{variant}\n{code}\n{nowhere_near}"));
}

#[test]
fn describe_tells_what_a_guarantee_a_setting_an_error_and_a_word_are() {
    let codes = [
        "PA/acknowledged-lost",
        "min.insync.replicas",
        "NOT_ENOUGH_REPLICAS",
        "lost",
        "high watermark",
        "isr",
    ];
    let all = codes.map(|code| ktrial(&["describe", code]));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn describe_tells_the_story_of_a_fix() {
    let told = ktrial(&["describe", "kip-320"]);
    assert!(told.starts_with("exit 0"), "{told}");
    for fact in [
        "A leader that is cut off",
        "0.8.0 to 2.1, fixed in 2.2.0",
        "inter.broker.protocol.version from 2.7-IV1 on",
        "R-04",
    ] {
        assert!(told.contains(fact), "{fact} is not in {told}");
    }
}

#[test]
fn every_fix_is_listed_with_its_releases_and_its_era() {
    let told = ktrial(&["list", "--fixes"]);
    assert!(told.contains("2.0.0; on from era 2.8; judged in sound"));
    assert!(told.contains("4.0.0; on in no era; judged in sound; never in ZooKeeper mode"));
}

#[test]
fn list_names_every_scenario() {
    let told = ktrial(&["list"]);
    assert!(told.starts_with("exit 0"), "{told}");
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")];
    let mut scenarios = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            scenarios += usize::from(path.extension().is_some_and(|end| end == "toml"));
            folders.extend(path.is_dir().then_some(path));
        }
    }
    assert_eq!(told.matches(".toml\n").count(), scenarios);
}

#[test]
fn the_page_of_a_run_ends_in_verdict_and_command() {
    let told = ktrial(&["run", "scenarios/03-acks-one.toml"]);
    assert!(told.contains("Verdict: AS EXPECTED"), "{told}");
    assert!(
        told.contains("ktrial run scenarios/03-acks-one.toml --seed 1"),
        "{told}"
    );
    assert!(told.contains("P1/acknowledged-lost: excused"), "{told}");
}

/// What the README shows of a page is there, line for line and in that order.
#[test]
fn the_page_in_the_readme_is_that_of_the_run() {
    let readme = include_str!("../README.md");
    let block = readme.split("<!-- page -->").nth(1).unwrap();
    let block = block.split("<!-- /page -->").next().unwrap();
    let told = ktrial(&["run", "scenarios/03-acks-one.toml"]);
    let mut page = told.lines();
    let shown = block.lines().filter(|line| !line.starts_with("```"));
    for line in shown.filter(|line| !line.trim().is_empty()) {
        assert!(page.any(|told| told == line), "the page has no {line:?}");
    }
}

#[test]
fn several_files_end_in_one_table_with_every_side() {
    insta::assert_snapshot!(ktrial(&[
        "run",
        "scenarios/03-acks-one.toml",
        "scenarios/08-unclean-election.toml"
    ]));
}
