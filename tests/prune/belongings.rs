//! Unnamed documents that belong to an image: signatures, attestations and the like, in every form that programs write.

use crate::support::{Cmd, Desc, Doc, ImageBuilder, TestLayout};

/// The media type of the signatures here.
pub(crate) const SIGNATURE: &str = "application/vnd.example.signature";

/// An unnamed document that belongs to an image.
pub(crate) type Belonging = (&'static str, fn(&mut TestLayout, &Desc, &str) -> Desc);

/// Everything that can belong to the image `of`, which is an index with a child and has the name `name`, if any.
pub(crate) fn belongings() -> Vec<Belonging> {
    fn payload(shelf: &TestLayout, salt: &str) -> (Desc, Vec<Desc>) {
        let layer = shelf.layout.blob(SIGNATURE, salt.as_bytes());
        (shelf.layout.empty_config(), vec![layer])
    }
    fn plain(shelf: &TestLayout, salt: &str) -> Desc {
        let (config, layers) = payload(shelf, salt);
        shelf.layout.manifest(&config, &layers)
    }
    fn referrer(shelf: &TestLayout, of: &Desc, salt: &str) -> Desc {
        let (config, layers) = payload(shelf, salt);
        let doc = Doc::manifest(&config, &layers)
            .artifact_type(SIGNATURE)
            .subject(of);
        shelf.layout.put(&doc)
    }
    vec![
        ("a listed referrer by subject", |shelf, of, _| {
            let desc = referrer(shelf, of, "listed");
            shelf.layout.entry(&desc);
            desc
        }),
        ("an unlisted referrer by subject", |shelf, of, _| {
            referrer(shelf, of, "unlisted")
        }),
        ("a listed referrer of a listed referrer", |shelf, of, _| {
            let first = referrer(shelf, of, "first");
            let second = referrer(shelf, &first, "second");
            shelf.layout.entry(&second).entry(&first);
            second
        }),
        (
            "a listed referrer of an unlisted referrer",
            |shelf, of, _| {
                let first = referrer(shelf, of, "hidden");
                let second = referrer(shelf, &first, "shown");
                shelf.layout.entry(&second);
                second
            },
        ),
        ("an index with it as its subject", |shelf, of, _| {
            let inner = plain(shelf, "inner");
            let desc = shelf.layout.put(&Doc::index(&[inner]).subject(of));
            shelf.layout.entry(&desc);
            desc
        }),
        ("an entry annotated with its subject", |shelf, of, _| {
            let desc = plain(shelf, "annotated");
            let entry = desc
                .clone()
                .annotate("io.containerd.manifest.subject", of.digest.as_str());
            shelf.layout.entry(entry);
            desc
        }),
        ("an attestation listed beside it", |shelf, of, _| {
            let desc = plain(shelf, "beside");
            shelf.layout.entry(desc.clone().attests(of));
            desc
        }),
        ("a digest tag", |shelf, of, _| {
            let desc = plain(shelf, "digest tag");
            let tag = of.digest.replacen(':', "-", 1);
            shelf.layout.tag(&desc, &tag);
            desc
        }),
        ("a digest tag of a signature", |shelf, of, _| {
            let desc = plain(shelf, "sig");
            let tag = format!("app:{}.sig", of.digest.replacen(':', "-", 1));
            shelf.layout.tag(&desc, &tag);
            desc
        }),
        (
            "a digest tag with a suffix behind a hyphen",
            |shelf, of, _| {
                let desc = plain(shelf, "hyphen");
                let tag = format!("{}-attestation", of.digest.replacen(':', "-", 1));
                shelf.layout.tag(&desc, &tag);
                desc
            },
        ),
        ("an entry with a subject in another case", |shelf, of, _| {
            let desc = plain(shelf, "Subject");
            let entry = desc
                .clone()
                .annotate("com.example.Subject", of.digest.as_str());
            shelf.layout.entry(entry);
            desc
        }),
        ("a digest tag of an attestation", |shelf, of, _| {
            let desc = plain(shelf, "att");
            let tag = format!("{}.att", of.digest.replacen(':', "-", 1));
            shelf.layout.tag(&desc, &tag);
            desc
        }),
    ]
}

/// No kept document references a damaged referrer, and `gc` would keep it with its subject if nothing had listed it. So it
/// is kept, with its references, if the document that listed it is removed.
#[test]
fn a_damaged_referrer_of_a_kept_image_is_not_removed_with_what_lists_it() {
    for is_nested in [false, true] {
        let mut shelf = TestLayout::new();
        let app = shelf.small("app:1", 5);
        shelf.small("app:2", 5);
        let layer = shelf.layout.blob(SIGNATURE, b"signature");
        let config = shelf.layout.empty_config();
        let mut parts = vec![layer.clone(), config.clone()];
        let mut doc = Doc::manifest(&config, std::slice::from_ref(&layer));
        if is_nested {
            // Its children are known only if it is read.
            let child = shelf.layout.put(&doc);
            doc = Doc::index(std::slice::from_ref(&child));
            parts.push(child);
        }
        let damaged = shelf
            .layout
            .put_forged("damaged", &doc.subject(&app.manifest));
        let other = ImageBuilder::new("other").store(&shelf.layout);
        let index = shelf
            .layout
            .index(&[other.manifest.clone(), damaged.clone()]);
        shelf.layout.entry(&index);
        shelf.write();
        // While it is listed nothing is swept.
        Cmd::gc(shelf.path()).run().refused();
        let pruned = shelf.prune(&[]);
        let mut gone = other.digests();
        gone.push(index.digest.clone());
        pruned.ok().deletes(&gone);
        parts.push(damaged);
        for part in &parts {
            assert!(shelf.has(part), "{is_nested}\n{}", pruned.run.all());
        }
        // Its subject is removed, and so is it.
        let pruned = shelf.prune(&["-a", "--keep", "app:2"]);
        pruned.ok();
        for part in parts.iter().chain(app.parts()) {
            assert!(!shelf.has(part), "{is_nested}\n{}", pruned.run.all());
        }
    }
}
