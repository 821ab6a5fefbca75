//! `ktrial list`: what scenarios, guarantees, fixes and ledger entries there are.

use super::say;
use crate::args::List;
use crate::exit::Exit;
use crate::load;
use crate::style::{NAME, pad, paint};
use protocol::behaviour::Fix;

/// Prints one of the lists.
pub(crate) fn list(args: &List) -> Exit {
    if args.guarantees {
        for known in history::checker::guarantees() {
            say(&format!("{} {}", pad(NAME, known.code, 14), known.title));
        }
    } else if args.ledger {
        for (name, meaning) in history::ledger::LEDGER_KEYS {
            say(&format!("{} {meaning}", pad(NAME, name, 20)));
        }
    } else if args.fixes {
        for fix in Fix::ALL {
            say(&fix_entry(*fix));
        }
    } else {
        return scenarios(args);
    }
    Exit::AsExpected
}

/// A sentence, and below it who had the bug and where it is judged.
fn fix_entry(fix: Fix) -> String {
    let mut facts = vec![fix.affected().to_string(), super::on_from(fix)];
    facts.push(format!("judged in {}", fix.base()));
    if let Some(label) = fix.home().label() {
        facts.push(label.to_owned());
    }
    format!(
        "{} {}\n    {}",
        paint(NAME, fix.name()),
        fix.summary(),
        facts.join("; ")
    )
}

fn scenarios(args: &List) -> Exit {
    let files = match load::files(std::slice::from_ref(&args.folder)) {
        Ok(files) => files,
        Err(exit) => return exit,
    };
    let mut exit = Exit::AsExpected;
    for file in files {
        match load::plans(&file) {
            Ok(plans) => {
                let Some(first) = plans.first() else { continue };
                let variants: Vec<&str> = plans
                    .iter()
                    .filter_map(|plan| plan.variant.as_deref())
                    .collect();
                let sides = if variants.is_empty() {
                    String::new()
                } else {
                    format!("\n    sides: {}", variants.join(" | "))
                };
                say(&format!(
                    "{}\n    {}{sides}",
                    paint(NAME, file.display()),
                    first.title
                ));
            }
            Err(failed) => exit = exit.worse(failed),
        }
    }
    exit
}
