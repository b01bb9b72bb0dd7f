//! The formats of the image-spec and of docker, as values. No code in this module reads or writes a file.

mod annotations;
pub mod descriptor;
pub mod digest;
pub mod docker_archive;
pub mod glob;
pub mod index_change;
pub mod index_json;
mod json_edit;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod second_index;
pub(crate) mod signed;
#[cfg(feature = "oci-spec")]
pub mod spec;

pub use annotations::{
    BASE_NAME, CONTAINERD_NAME, EntryName, REF_NAME, REFERENCE_DIGEST, REFERENCE_TYPE, SAVED_NAME,
    entry_names, split_name, split_pin,
};
pub use descriptor::{Document, Role, Shape};
pub use digest::{Algorithm, BlobName, Digest, DigestError};
pub use docker_archive::DockerSave;
pub use index_change::{IndexChange, RestoredIndex, TextChange};
pub use index_json::{Edit, IndexDoc};
pub use media_type::Kind;
