//! The name space of a disk: a sorted map from paths to files; directories are prefixes.

use protocol::disk::FileId;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Which file each path names.
pub(super) type Names = BTreeMap<Arc<str>, FileId>;

/// Everything inside a directory, the name itself excluded; the empty name is the root.
pub(super) fn below<'a>(
    names: &'a Names,
    directory: &'a str,
) -> impl Iterator<Item = (&'a str, FileId)> + 'a {
    let prefix = if directory.is_empty() {
        String::new()
    } else {
        format!("{directory}/")
    };
    names
        .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
        .map(|(path, id)| (&**path, *id))
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .collect::<Vec<_>>()
        .into_iter()
}

pub(super) fn has_below(names: &Names, path: &str) -> bool {
    names.contains_key(path) || below(names, path).next().is_some()
}

/// Takes a file, or all files of a directory, out.
pub(super) fn remove_below(names: &mut Names, path: &str) -> Vec<FileId> {
    let mut keys: Vec<String> = below(names, path)
        .map(|(name, _)| name.to_owned())
        .collect();
    keys.push(path.to_owned());
    keys.iter()
        .filter_map(|key| names.remove(key.as_str()))
        .collect()
}

/// Renames a file, or all files of a directory.
pub(super) fn rename_below(names: &mut Names, from: &str, to: &str) {
    let mut moved: Vec<(String, FileId)> = below(names, from)
        .map(|(name, id)| (name.to_owned(), id))
        .collect();
    if let Some(id) = names.get(from) {
        moved.push((from.to_owned(), *id));
    }
    for (name, _) in &moved {
        names.remove(name.as_str());
    }
    for (name, id) in moved {
        let renamed = format!("{to}{}", &name[from.len()..]);
        names.insert(Arc::from(renamed), id);
    }
}
