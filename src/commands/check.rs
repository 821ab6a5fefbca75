//! `ktrial check`: judges a recorded history, ours or somebody else's.

use super::{exit_of, run, say};
use crate::args::Check;
use crate::exit::Exit;
use crate::load;
use crate::page;
use history::History;
use history::judge::judge;
use serde_json::json;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

/// Reads and judges.
pub(crate) fn check(args: &Check) -> Exit {
    let shown = args.file.display();
    let file = match File::open(&args.file) {
        Ok(file) => file,
        Err(error) => {
            load::complain_plainly(&format!("cannot read {shown}: {error}"));
            return Exit::Usage;
        }
    };
    let history = match history::jsonl::read(BufReader::new(file)) {
        Ok(history) => history,
        Err(error) => {
            let is_scenario = args.file.extension().is_some_and(|ending| ending == "toml");
            load::complain_plainly(&if is_scenario {
                format!(
                    "{shown} is a scenario, and `check` judges a history that was recorded; `ktrial run {shown}` runs it and judges"
                )
            } else {
                format!("{shown}: {error}")
            });
            return Exit::Usage;
        }
    };
    if let Some(path) = &args.edn
        && let Err(error) = write_edn(&history, path)
    {
        load::complain_plainly(&format!("cannot write {}: {error}", path.display()));
        return Exit::Usage;
    }
    let judgement = judge(&history);
    if args.json {
        say(&json!({ "runs": [run::as_json(&history, &judgement)] }).to_string());
    } else {
        say(&page::page(&history, &judgement));
    }
    exit_of(&judgement.outcome)
}

/// Jepsen's own form.
fn write_edn(history: &History, path: &Path) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    history::jepsen::write(history, &mut out)?;
    out.flush()
}
