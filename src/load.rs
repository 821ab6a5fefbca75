//! From paths to plans; whatever is wrong is told with file, line, column and a hint.

use crate::exit::Exit;
use miette::{GraphicalReportHandler, GraphicalTheme};
use sim::scenario::check::{Checked, Vocabulary, check};
use sim::scenario::diagnostic::{Complaint, Placed};
use sim::scenario::format::ScenarioFile;
use sim::scenario::parse;
use sim::scenario::plan::Plan;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plans of a file, all variants.
///
/// # Errors
/// [`Exit::Usage`], after everything that is wrong was told on stderr.
pub(crate) fn plans(path: &Path) -> Result<Vec<Arc<Plan>>, Exit> {
    let shown = path.display().to_string();
    let (text, file) = read(path)?;
    let checked = check_file(&file, &shown);
    let failed = checked
        .complaints
        .iter()
        .any(|complaint| !complaint.warning);
    for complaint in checked.complaints {
        tell(complaint, &shown, &text);
    }
    if failed {
        Err(Exit::Usage)
    } else {
        Ok(checked.plans.into_iter().map(Arc::new).collect())
    }
}

/// A file as it is written.
///
/// # Errors
/// [`Exit::Usage`], after what is wrong was told on stderr.
pub(crate) fn file(path: &Path) -> Result<ScenarioFile, Exit> {
    read(path).map(|(_, file)| file)
}

/// The plan of a file without variants; none when something in it does not fit together.
pub(crate) fn checked(file: &ScenarioFile, path: &str) -> Option<Arc<Plan>> {
    check_file(file, path).plans.pop().map(Arc::new)
}

/// The plans of all sides of a file; none when something in it does not fit together.
pub(crate) fn all_checked(file: &ScenarioFile, path: &str) -> Vec<Arc<Plan>> {
    let plans = check_file(file, path).plans.into_iter();
    plans.map(Arc::new).collect()
}

fn check_file(file: &ScenarioFile, path: &str) -> Checked {
    let guarantees = history::checker::codes();
    let ledger = history::ledger::Ledger::keys();
    let vocabulary = Vocabulary {
        guarantees: &guarantees,
        ledger: &ledger,
    };
    check(file, path, &vocabulary)
}

fn read(path: &Path) -> Result<(String, ScenarioFile), Exit> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        let hint = if path.extension().is_none() {
            "; a folder of scenarios is named without a file"
        } else {
            "; `ktrial list` tells which scenarios there are"
        };
        complain_plainly(&format!("cannot read {shown}: {error}{hint}"));
        Exit::Usage
    })?;
    if bytes.starts_with(br#"{"format":"ktrial-history""#) {
        complain_plainly(&format!(
            "{shown} is a recorded history; `ktrial check {shown}` judges it"
        ));
        return Err(Exit::Usage);
    }
    let text = parse::text(bytes).map_err(|complaint| fail(complaint, &shown, ""))?;
    let file = parse::parse(&text).map_err(|complaint| fail(complaint, &shown, &text))?;
    Ok((text, file))
}

fn fail(complaint: Complaint, path: &str, text: &str) -> Exit {
    tell(complaint, path, text);
    Exit::Usage
}

fn tell(complaint: Complaint, path: &str, text: &str) {
    let placed = Placed::new(complaint, path, text);
    let theme = if std::io::stderr().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut out = String::new();
    let rendered = GraphicalReportHandler::new_themed(theme)
        .with_width(110)
        .with_links(false)
        .render_report(&mut out, &placed);
    if rendered.is_err() {
        out = placed.to_string();
    }
    anstream::eprintln!("{out}");
}

/// A complaint about something other than the text of a scenario.
pub(crate) fn complain_plainly(text: &str) {
    anstream::eprintln!("error: {text}");
}

/// The scenario files below the given paths, in order of their names.
///
/// # Errors
/// [`Exit::Usage`] when a folder cannot be read or holds no scenario.
pub(crate) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Exit> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let before = found.len();
            collect(path, &mut found)?;
            if found.len() == before {
                complain_plainly(&format!(
                    "there is no scenario (*.toml) in {}",
                    path.display()
                ));
                return Err(Exit::Usage);
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Exit> {
    let entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| {
            complain_plainly(&format!("cannot read folder {}: {error}", folder.display()));
            Exit::Usage
        })?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Only the variant asked for, when one is.
///
/// # Errors
/// [`Exit::Usage`] when there is no such variant.
pub(crate) fn only(plans: Vec<Arc<Plan>>, variant: Option<&str>) -> Result<Vec<Arc<Plan>>, Exit> {
    let Some(wanted) = variant else {
        return Ok(plans);
    };
    let names: Vec<String> = plans
        .iter()
        .filter_map(|plan| plan.variant.clone())
        .collect();
    if names.is_empty() {
        complain_plainly(&format!(
            "there is no variant `{wanted}`: this scenario has none"
        ));
        return Err(Exit::Usage);
    }
    let chosen: Vec<Arc<Plan>> = plans
        .into_iter()
        .filter(|plan| plan.variant.as_deref() == Some(wanted))
        .collect();
    if chosen.is_empty() {
        let known = sim::scenario::diagnostic::suggestion(wanted, names.iter().map(String::as_str));
        complain_plainly(&format!("there is no variant `{wanted}`: {known}"));
        return Err(Exit::Usage);
    }
    Ok(chosen)
}
