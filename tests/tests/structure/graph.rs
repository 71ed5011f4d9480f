//! Which file of a crate uses which, read from its paths.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;

/// A module as the names from the crate's root to it: `["state", "queue"]`. The root is empty.
pub(crate) type Module = Vec<String>;

/// The modules of a crate that are files, and for each the modules that it names.
///
/// `#[cfg(test)]` items are left out. A path counts for the deepest file on it: both
/// `crate::state::queue::Queue` and `crate::state::queue` count for `state/queue.rs`, and a name
/// that `state/mod.rs` re-exports counts for `state/mod.rs`. Paths inside macro calls count too.
pub(crate) struct Graph(BTreeMap<Module, BTreeSet<Module>>);

impl Graph {
    /// Reads every `.rs` file below `src`, but for `main.rs`, which is a crate of its own, and
    /// files that no `mod` declares outside tests.
    ///
    /// # Errors
    /// A file that cannot be read or is not Rust.
    pub(crate) fn of_crate(src: &Path) -> Result<Self> {
        let mut sources = BTreeMap::new();
        read_folder(src, src, &mut sources)?;
        Self::of_sources(&sources)
    }

    /// The graph of a crate given as text, one entry a module.
    ///
    /// # Errors
    /// A text that is not Rust.
    pub(crate) fn of_sources(sources: &BTreeMap<Module, String>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for (module, text) in sources {
            let name = module.join("::");
            let file = syn::parse_file(text).with_context(|| format!("crate::{name}"))?;
            files.insert(module.clone(), without_tests(file.items));
        }
        let declared = declared_modules(&files);
        files.retain(|module, _| declared.contains(module));
        let known: BTreeSet<Module> = files.keys().cloned().collect();
        let mut graph = BTreeMap::new();
        for (module, items) in &files {
            let mut reader = Reader {
                known: &known,
                uses: BTreeSet::new(),
            };
            reader.items(module, items);
            reader.uses.remove(module);
            graph.insert(module.clone(), reader.uses);
        }
        Ok(Self(graph))
    }

    /// Every use of one file by another, as (user, used).
    pub(crate) fn arrows(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.0
            .iter()
            .flat_map(|(user, used)| used.iter().map(move |used| (user, used)))
    }

    /// The modules that are files.
    pub(crate) fn modules(&self) -> impl Iterator<Item = &Module> {
        self.0.keys()
    }

    /// Every largest set of two files or more in which each reaches every other, in order of
    /// names. The root is left out: it declares all and is used by none but for re-exports.
    pub(crate) fn circles(&self) -> Vec<Vec<&Module>> {
        let reach: BTreeMap<&Module, BTreeSet<&Module>> = self
            .modules()
            .map(|from| (from, self.reached(from)))
            .collect();
        let mut circles: Vec<Vec<&Module>> = Vec::new();
        for from in self.modules() {
            if circles.iter().any(|circle| circle.contains(&from)) {
                continue;
            }
            let circle: Vec<&Module> = self
                .modules()
                .filter(|to| reach[from].contains(to) && reach[to].contains(from))
                .collect();
            if !circle.is_empty() {
                circles.push(circle);
            }
        }
        circles
    }

    fn reached<'a>(&'a self, from: &'a Module) -> BTreeSet<&'a Module> {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(module) = open.pop() {
            for next in self.0.get(module).into_iter().flatten() {
                if !next.is_empty() && seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    }
}

fn read_folder(root: &Path, folder: &Path, sources: &mut BTreeMap<Module, String>) -> Result<()> {
    for entry in folder
        .read_dir()
        .with_context(|| format!("reading {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(root, &path, sources)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let inner = path.strip_prefix(root)?.with_extension("");
            let mut module: Module = inner
                .iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect();
            let root_file = module.len() == 1;
            match module.last().map(String::as_str) {
                Some("main") if root_file => continue,
                Some("lib") if root_file => module.clear(),
                Some("mod") => drop(module.pop()),
                _ => {}
            }
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            sources.insert(module, text);
        }
    }
    Ok(())
}

/// The files that the root reaches by `mod` items that are not for tests only.
fn declared_modules(files: &BTreeMap<Module, Vec<syn::Item>>) -> BTreeSet<Module> {
    let mut declared = BTreeSet::new();
    let mut open = vec![Module::new()];
    while let Some(module) = open.pop() {
        let Some(items) = files.get(&module) else {
            continue;
        };
        open.extend(items.iter().filter_map(|item| match item {
            syn::Item::Mod(inner) if inner.content.is_none() => {
                Some(child(&module, &inner.ident.to_string()))
            }
            _ => None,
        }));
        declared.insert(module);
    }
    declared
}

fn child(module: &[String], name: &str) -> Module {
    let mut module = module.to_vec();
    module.push(name.to_owned());
    module
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Path>()
                    .is_ok_and(|condition| condition.is_ident("test")))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn without_tests(items: Vec<syn::Item>) -> Vec<syn::Item> {
    let mut kept: Vec<syn::Item> = items
        .into_iter()
        .filter(|item| !is_test(attributes(item)))
        .collect();
    for item in &mut kept {
        match item {
            syn::Item::Impl(block) => block.items.retain(|inner| match inner {
                syn::ImplItem::Fn(function) => !is_test(&function.attrs),
                syn::ImplItem::Const(constant) => !is_test(&constant.attrs),
                _ => true,
            }),
            syn::Item::Mod(inner) => {
                if let Some((_, inside)) = &mut inner.content {
                    *inside = without_tests(std::mem::take(inside));
                }
            }
            _ => {}
        }
    }
    kept
}

/// Collects the files that paths name.
struct Reader<'a> {
    known: &'a BTreeSet<Module>,
    uses: BTreeSet<Module>,
}

impl Reader<'_> {
    fn items(&mut self, module: &[String], items: &[syn::Item]) {
        for item in items {
            match item {
                // A module inside a file: its paths start from it.
                syn::Item::Mod(inner) => {
                    if let Some((_, inside)) = &inner.content {
                        self.items(&child(module, &inner.ident.to_string()), inside);
                    }
                }
                syn::Item::Use(used) => self.tokens(module, used.tree.to_token_stream()),
                _ => self.tokens(module, item.to_token_stream()),
            }
        }
    }

    fn tokens(&mut self, module: &[String], tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(module, group.stream()),
                TokenTree::Ident(name)
                    if is_separator(&tokens, at + 1) && !follows(&tokens, at) =>
                {
                    let start = match name.to_string().as_str() {
                        "crate" => Some(Module::new()),
                        "self" => Some(module.to_vec()),
                        "super" => Some(parent(module)),
                        name if self.known.contains(&child(module, name)) => {
                            Some(child(module, name))
                        }
                        _ => None,
                    };
                    if let Some(start) = start {
                        self.path(start, &tokens, at + 3);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads on from behind a `::` at `tokens[at]`; `reached` is the module so far.
    fn path(&mut self, mut reached: Module, tokens: &[TokenTree], mut at: usize) {
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(name)) => {
                    let name = name.to_string();
                    if name == "super" {
                        reached = parent(&reached);
                    } else {
                        reached.push(name);
                    }
                    if !is_separator(tokens, at + 1) {
                        break;
                    }
                    at += 3;
                }
                Some(TokenTree::Group(group)) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    let parts = inner.split(|token| is_punct(token, ','));
                    for part in parts.filter(|part| !part.is_empty()) {
                        if matches!(&part[0], TokenTree::Ident(name) if name == "self") {
                            self.count(reached.clone());
                        } else {
                            self.path(reached.clone(), part, 0);
                        }
                    }
                    return;
                }
                _ => break,
            }
        }
        self.count(reached);
    }

    fn count(&mut self, mut module: Module) {
        while !self.known.contains(&module) && module.pop().is_some() {}
        self.uses.insert(module);
    }
}

fn parent(module: &[String]) -> Module {
    module[..module.len().saturating_sub(1)].to_vec()
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == sign)
}

/// Returns `true` if a `::` starts at `at`.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    tokens.len() > at + 1 && is_punct(&tokens[at], ':') && is_punct(&tokens[at + 1], ':')
}

/// Returns `true` if the token before `at` ends a `::`.
fn follows(tokens: &[TokenTree], at: usize) -> bool {
    at > 1 && is_separator(tokens, at - 2)
}
