//! Where the control socket is: one answer for the appliance that makes it and the clients that look for it.
//!
//! In this order: `$SLUICEGATE_SOCKET`; `sluicegate.sock` in `$XDG_RUNTIME_DIR`;
//! `/run/sluicegate/sluicegate.sock`; `sluicegate-<uid>/sluicegate.sock` in the temporary folder. Anybody
//! can make a folder of that last name, so it is trusted only if it is ours and closed to others.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Names the socket, for the appliance and for clients alike.
pub const SOCKET_VARIABLE: &str = "SLUICEGATE_SOCKET";

const SOCKET_NAME: &str = "sluicegate.sock";

/// The socket that a client should connect to: the first place where there is one.
///
/// Nothing is asked whether somebody listens there. Were a dead socket passed over, an order meant for one
/// appliance could reach another.
pub fn find_socket() -> Result<PathBuf, SocketError> {
    Surroundings::from_environment().find()
}

/// The socket that an appliance should make if its configuration names none. Makes the private folder if
/// it comes to that.
pub fn default_socket() -> Result<PathBuf, SocketError> {
    Surroundings::from_environment().choose()
}

/// Why there is no path to give.
#[derive(Debug)]
pub enum SocketError {
    /// A client looked in all these places.
    NoneFound { tried: Vec<PathBuf> },
    /// Somebody else may have made the folder, or may write to it.
    Untrusted { folder: PathBuf, because: &'static str },
    /// The private folder could not be made or looked at.
    Folder { folder: PathBuf, error: io::Error },
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocketError::NoneFound { tried } => {
                f.write_str("no control socket at ")?;
                for (ix, path) in tried.iter().enumerate() {
                    let joint = if ix == 0 { "" } else { ", " };
                    write!(f, "{joint}{}", path.display())?;
                }
                write!(
                    f,
                    ": is sluicegate running? Start it with `sluicegate run`, or name its socket with --socket or ${SOCKET_VARIABLE}"
                )
            }
            SocketError::Untrusted { folder, because } => write!(
                f,
                "{} {because}: not trusted. Name the socket with --socket or ${SOCKET_VARIABLE}, or remove the folder if nobody needs it",
                folder.display()
            ),
            SocketError::Folder { folder, error } => {
                write!(f, "folder {} for the control socket: {error}", folder.display())
            }
        }
    }
}

impl std::error::Error for SocketError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SocketError::Folder { error, .. } => Some(error),
            SocketError::NoneFound { .. } | SocketError::Untrusted { .. } => None,
        }
    }
}

/// What the choice depends on.
struct Surroundings {
    named: Option<PathBuf>,
    runtime: Option<PathBuf>,
    system: PathBuf,
    temporary: PathBuf,
    uid: u32,
}

impl Surroundings {
    fn from_environment() -> Surroundings {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Surroundings {
            named: path(SOCKET_VARIABLE),
            // A relative one is to be ignored: XDG Base Directory Specification.
            runtime: path("XDG_RUNTIME_DIR").filter(|folder| folder.is_absolute()),
            system: PathBuf::from("/run/sluicegate"),
            temporary: std::env::temp_dir(),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    fn find(&self) -> Result<PathBuf, SocketError> {
        if let Some(named) = &self.named {
            return Ok(named.clone());
        }
        let mut tried = Vec::new();
        for folder in self.runtime.iter().chain([&self.system]) {
            let socket = folder.join(SOCKET_NAME);
            if is_socket(&socket) {
                return Ok(socket);
            }
            tried.push(socket);
        }
        let private = self.private_folder();
        let socket = private.join(SOCKET_NAME);
        match self.check_private(&private) {
            Ok(()) if is_socket(&socket) => Ok(socket),
            Err(SocketError::Folder { error, .. }) if error.kind() != io::ErrorKind::NotFound => {
                Err(SocketError::Folder { folder: private, error })
            }
            Err(untrusted @ SocketError::Untrusted { .. }) => Err(untrusted),
            Ok(()) | Err(_) => {
                tried.push(socket);
                Err(SocketError::NoneFound { tried })
            }
        }
    }

    fn choose(&self) -> Result<PathBuf, SocketError> {
        if let Some(named) = &self.named {
            return Ok(named.clone());
        }
        let writable =
            |folder: &&PathBuf| folder.is_dir() && rustix::fs::access(*folder, rustix::fs::Access::WRITE_OK).is_ok();
        if let Some(folder) = self.runtime.iter().chain([&self.system]).find(writable) {
            return Ok(folder.join(SOCKET_NAME));
        }
        let private = self.private_folder();
        match DirBuilder::new().mode(0o700).create(&private) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SocketError::Folder { folder: private, error });
            }
            // Also when it was just made: the check is what says so.
            Ok(()) | Err(_) => self.check_private(&private)?,
        }
        Ok(private.join(SOCKET_NAME))
    }

    fn private_folder(&self) -> PathBuf {
        self.temporary.join(format!("sluicegate-{}", self.uid))
    }

    fn check_private(&self, folder: &Path) -> Result<(), SocketError> {
        // Of the name itself: a link, even to a folder of ours, was not made by us.
        let metadata =
            fs::symlink_metadata(folder).map_err(|error| SocketError::Folder { folder: folder.to_owned(), error })?;
        let because = if !metadata.is_dir() {
            "is not a folder"
        } else if metadata.uid() != self.uid {
            "belongs to another user"
        } else if metadata.mode() & 0o022 != 0 {
            "can be written to by others"
        } else {
            return Ok(());
        };
        Err(SocketError::Untrusted { folder: folder.to_owned(), because })
    }
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use tempfile::TempDir;

    /// Folders `run`, `system` and `tmp` in a folder of our own.
    fn surroundings(root: &TempDir) -> Surroundings {
        let folder = |name| {
            let path = root.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        Surroundings {
            named: None,
            runtime: Some(folder("run")),
            system: folder("system"),
            temporary: folder("tmp"),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    #[test]
    fn what_the_appliance_chooses_a_client_finds() {
        let root = TempDir::new().unwrap();
        let mut around = surroundings(&root);
        let check = |around: &Surroundings, expected: &str| {
            let chosen = around.choose().unwrap();
            assert_eq!(chosen, root.path().join(expected));
            let _listener = UnixListener::bind(&chosen).unwrap();
            assert_eq!(around.find().unwrap(), chosen);
            fs::remove_file(&chosen).unwrap();
        };
        check(&around, "run/sluicegate.sock");
        around.runtime = None;
        check(&around, "system/sluicegate.sock");
        around.system = root.path().join("absent");
        let private = format!("tmp/sluicegate-{}/sluicegate.sock", around.uid);
        check(&around, &private);
        check(&around, &private);
        around.named = Some(root.path().join("named"));
        check(&around, "named");
    }

    #[test]
    fn the_private_folder_is_closed_to_others() {
        let root = TempDir::new().unwrap();
        let around = Surroundings { runtime: None, system: root.path().join("absent"), ..surroundings(&root) };
        let folder = around.choose().unwrap().parent().unwrap().to_owned();
        assert_eq!(fs::metadata(folder).unwrap().mode() & 0o777, 0o700);
    }

    #[track_caller]
    fn untrusted(around: &Surroundings, expected: &str) {
        for result in [around.find(), around.choose()] {
            match result {
                Err(SocketError::Untrusted { because, .. }) => assert_eq!(because, expected),
                other => panic!("trusted: {other:?}"),
            }
        }
    }

    #[test]
    fn a_folder_that_somebody_else_may_have_made_is_not_trusted() {
        let root = TempDir::new().unwrap();
        let mut around = Surroundings { runtime: None, system: root.path().join("absent"), ..surroundings(&root) };
        let private = around.private_folder();
        fs::create_dir(&private).unwrap();
        let _listener = UnixListener::bind(private.join(SOCKET_NAME)).unwrap();
        fs::set_permissions(&private, Permissions::from_mode(0o777)).unwrap();
        untrusted(&around, "can be written to by others");

        fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
        assert!(around.find().is_ok());
        let aside = root.path().join("aside");
        fs::rename(&private, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &private).unwrap();
        untrusted(&around, "is not a folder");

        // Another user looks: the folder with that user's number is ours.
        around.uid += 1;
        fs::create_dir(around.private_folder()).unwrap();
        untrusted(&around, "belongs to another user");
    }

    #[test]
    fn a_client_that_finds_nothing_says_where_it_looked() {
        let root = TempDir::new().unwrap();
        let around = surroundings(&root);
        fs::write(root.path().join("run/sluicegate.sock"), "no socket").unwrap();
        let message = around.find().unwrap_err().to_string();
        for place in ["run/", "system/", "tmp/sluicegate-"] {
            let place = root.path().join(place);
            assert!(message.contains(place.to_str().unwrap()), "{message}");
        }
        assert!(message.contains("is sluicegate running?"), "{message}");
    }
}
