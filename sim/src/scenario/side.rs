//! One side of a scenario as a file of its own: the variant's settings in the places that they go over.

use super::format::{ScenarioFile, Settings, Variant};

/// The file with the variant in it, and without variants.
pub fn with(file: &ScenarioFile, side: &Variant) -> ScenarioFile {
    let mut file = file.clone();
    file.variants.clear();
    file.matrix.clear();
    file.faults.extend(side.faults.iter().cloned());
    if side.era.is_some() {
        file.cluster.era.clone_from(&side.era);
    }
    let fixes = side.fixes.iter().map(|(fix, on)| (fix.clone(), *on));
    file.cluster.fixes.extend(fixes);
    over(&mut file.cluster.config, &side.cluster);
    for topic in &mut file.topics {
        over(&mut topic.config, &side.topic);
    }
    for producer in &mut file.producers {
        over(&mut producer.config, &side.producer);
        producer.on_failure = side.on_failure.unwrap_or(producer.on_failure);
    }
    for consumer in &mut file.consumers {
        over(&mut consumer.config, &side.consumer);
        consumer.api = side.api.unwrap_or(consumer.api);
        if let Some(into) = &mut consumer.into {
            over(&mut into.config, &side.producer);
        }
        consumer.thread = side.thread.unwrap_or(consumer.thread);
        consumer.commit_on_revoke = side.commit_on_revoke.unwrap_or(consumer.commit_on_revoke);
        if side.commit.is_some() {
            consumer.commit = side.commit;
        }
    }
    if let Some(expect) = &side.expect {
        file.expect = expect.clone();
    }
    if let Some(reaches) = &side.reaches {
        file.reaches.clone_from(reaches);
    }
    file
}

fn over(settings: &mut Settings, of_side: &Settings) {
    for (key, value) in of_side {
        settings.insert(key.clone(), value.clone());
    }
}
