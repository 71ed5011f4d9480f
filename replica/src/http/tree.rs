//! A hash tree as the IC certifies it, with every digest computed once, and witnesses of it.

use ic_certification::HashTree;
use ic_certification::hash_tree::{empty, fork, label, leaf, pruned};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A SHA-256 digest.
pub type Hash = [u8; 32];
/// Labels from the root of a tree downwards.
pub type Path = Vec<Vec<u8>>;

/// An immutable hash tree; cloning shares it.
#[derive(Clone, Debug)]
pub struct Tree(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    digest: Hash,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Empty,
    Leaf(Vec<u8>),
    Map(Map),
}

/// Labelled children, joined by a balanced tree of forks.
#[derive(Debug)]
struct Map {
    /// Ascending by label.
    children: Vec<(Vec<u8>, Tree)>,
    labeled: Vec<Hash>,
    /// Digests of the forks in pre-order: a fork, those of its left half, those of its right half.
    forks: Vec<Hash>,
}

impl Tree {
    /// The tree without anything.
    pub fn empty() -> Tree {
        Tree::of(digest("ic-hashtree-empty", &[]), Node::Empty)
    }

    /// A value.
    pub fn leaf(value: impl Into<Vec<u8>>) -> Tree {
        let value = value.into();
        Tree::of(digest("ic-hashtree-leaf", &[&value]), Node::Leaf(value))
    }

    /// Labelled children, in any order; of two with the same label the later one counts.
    pub fn map<L: Into<Vec<u8>>>(children: impl IntoIterator<Item = (L, Tree)>) -> Tree {
        let children: BTreeMap<Vec<u8>, Tree> = children
            .into_iter()
            .map(|(label, child)| (label.into(), child))
            .collect();
        if children.is_empty() {
            return Tree::empty();
        }
        let children: Vec<_> = children.into_iter().collect();
        let labeled: Vec<Hash> = children
            .iter()
            .map(|(label, child)| digest("ic-hashtree-labeled", &[label, &child.digest()]))
            .collect();
        let mut forks = Vec::with_capacity(children.len() - 1);
        let root = hash_range(&labeled, &mut forks);
        Tree::of(
            root,
            Node::Map(Map {
                children,
                labeled,
                forks,
            }),
        )
    }

    /// The root hash.
    pub fn digest(&self) -> Hash {
        self.0.digest
    }

    /// The part of this tree that proves, for each of `paths`, what is there, or that nothing is.
    /// A path that ends above the leaves reveals everything below it. The digest stays the same.
    pub fn witness(&self, paths: &[Path]) -> HashTree {
        let paths: Vec<&[Vec<u8>]> = paths.iter().map(Vec::as_slice).collect();
        self.reveal(&paths)
    }

    fn of(digest: Hash, node: Node) -> Tree {
        Tree(Arc::new(Inner { digest, node }))
    }

    fn reveal(&self, paths: &[&[Vec<u8>]]) -> HashTree {
        match &self.0.node {
            Node::Empty => empty(),
            Node::Leaf(value) => leaf(value.clone()),
            Node::Map(map) if paths.iter().any(|path| path.is_empty()) => {
                map.build(0, map.children.len(), 0, &|i| {
                    Some(map.children[i].1.reveal(&[&[]]))
                })
            }
            Node::Map(map) => map.reveal(paths),
        }
    }
}

impl Map {
    fn reveal(&self, paths: &[&[Vec<u8>]]) -> HashTree {
        // Per revealed child, the rest of the paths that go on in it: none for the neighbours
        // that prove an absence.
        let mut revealed: BTreeMap<usize, Vec<&[Vec<u8>]>> = BTreeMap::new();
        for path in paths {
            let Some((first, rest)) = path.split_first() else {
                continue;
            };
            match self
                .children
                .binary_search_by(|(label, _)| label.as_slice().cmp(first))
            {
                Ok(i) => revealed.entry(i).or_default().push(rest),
                Err(i) => {
                    if i > 0 {
                        revealed.entry(i - 1).or_default();
                    }
                    if i < self.children.len() {
                        revealed.entry(i).or_default();
                    }
                }
            }
        }
        self.build(0, self.children.len(), 0, &|i| {
            let rest = revealed.get(&i)?;
            let child = &self.children[i].1;
            Some(if rest.is_empty() {
                pruned(child.digest())
            } else {
                child.reveal(rest)
            })
        })
    }

    /// The children `from..to`, pruned where `child` answers none.
    fn build(
        &self,
        from: usize,
        to: usize,
        fork_index: usize,
        child: &dyn Fn(usize) -> Option<HashTree>,
    ) -> HashTree {
        if to - from == 1 {
            return match child(from) {
                Some(subtree) => label(self.children[from].0.clone(), subtree),
                None => pruned(self.labeled[from]),
            };
        }
        let middle = from + (to - from) / 2;
        let left = self.build(from, middle, fork_index + 1, child);
        let right = self.build(middle, to, fork_index + (middle - from), child);
        match (left.as_ref(), right.as_ref()) {
            (
                ic_certification::HashTreeNode::Pruned(_),
                ic_certification::HashTreeNode::Pruned(_),
            ) => pruned(self.forks[fork_index]),
            _ => fork(left, right),
        }
    }
}

/// Root of the labelled digests, their forks appended to `forks` in pre-order.
fn hash_range(labeled: &[Hash], forks: &mut Vec<Hash>) -> Hash {
    if let [only] = labeled {
        return *only;
    }
    let (left, right) = labeled.split_at(labeled.len() / 2);
    let index = forks.len();
    forks.push([0; 32]);
    let left = hash_range(left, forks);
    let right = hash_range(right, forks);
    forks[index] = digest("ic-hashtree-fork", &[&left, &right]);
    forks[index]
}

fn digest(domain: &str, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([domain.len() as u8]);
    hasher.update(domain);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ic_certification::{LookupResult, SubtreeLookupResult};

    fn path(labels: &[&str]) -> Path {
        labels
            .iter()
            .map(|label| label.as_bytes().to_vec())
            .collect()
    }

    /// `n` children named by three digits, each with a value and a subtree.
    fn sample(n: usize) -> Tree {
        Tree::map((0..n).map(|i| {
            let child = Tree::map([
                ("value", Tree::leaf(format!("v{i}"))),
                ("more", Tree::map([("deep", Tree::leaf("d"))])),
            ]);
            (format!("{i:03}"), child)
        }))
    }

    #[test]
    fn roots_are_those_of_ic_certification() {
        let tree = Tree::map([
            (
                "a",
                Tree::map([("x", Tree::leaf("hello")), ("y", Tree::leaf("world"))]),
            ),
            ("b", Tree::leaf("good")),
            ("d", Tree::leaf("morning")),
        ]);
        let same = fork(
            label(
                "a",
                fork(label("x", leaf(*b"hello")), label("y", leaf(*b"world"))),
            ),
            fork(label("b", leaf(*b"good")), label("d", leaf(*b"morning"))),
        );
        let same: HashTree = same;
        assert_eq!(tree.digest(), same.digest());
    }

    #[test]
    fn witnesses_keep_the_root_and_prove_presence_and_absence() {
        for n in 1..40 {
            let tree = sample(n);
            for i in 0..n {
                let name = format!("{i:03}");
                let witness = tree.witness(&[path(&[&name, "value"])]);
                assert_eq!(witness.digest(), tree.digest());
                assert_eq!(
                    witness.lookup_path([name.as_bytes(), b"value"]),
                    LookupResult::Found(format!("v{i}").as_bytes())
                );
                assert_eq!(
                    witness.lookup_path([name.as_bytes(), b"more", b"deep"]),
                    LookupResult::Unknown
                );
                for absent in [format!("{i:03}x"), format!("{:03}!", i)] {
                    let witness = tree.witness(&[path(&[&absent])]);
                    assert_eq!(witness.digest(), tree.digest());
                    assert_eq!(witness.lookup_path([&absent]), LookupResult::Absent);
                    assert!(
                        !format!("{witness:?}").contains("\"v"),
                        "an absence proof reveals no values"
                    );
                }
            }
            let before = tree.witness(&[path(&["!"])]);
            assert_eq!(before.lookup_path(["!"]), LookupResult::Absent);
        }
    }

    #[test]
    fn several_paths_and_whole_subtrees() {
        let tree = sample(9);
        let witness = tree.witness(&[
            path(&["002"]),
            path(&["007", "value"]),
            path(&["008", "no"]),
        ]);
        assert_eq!(witness.digest(), tree.digest());
        assert_eq!(
            witness.lookup_path([&b"002"[..], b"more", b"deep"]),
            LookupResult::Found(b"d")
        );
        assert_eq!(
            witness.lookup_path([&b"007"[..], b"value"]),
            LookupResult::Found(b"v7")
        );
        assert_eq!(
            witness.lookup_path([&b"008"[..], b"no"]),
            LookupResult::Absent
        );
        assert!(matches!(
            witness.lookup_subtree([b"003"]),
            SubtreeLookupResult::Unknown
        ));
        assert_eq!(tree.witness(&[vec![]]).list_paths().len(), 18);
        assert_eq!(
            Tree::empty().witness(&[path(&["a"])]).digest(),
            Tree::empty().digest()
        );
    }
}
