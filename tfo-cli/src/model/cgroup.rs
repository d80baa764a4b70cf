//! What a cgroup path says about who runs in it: the systemd unit and the container.

use super::source::CgroupName;

/// Digits of a container id that are shown: what `docker ps` and `crictl ps` show.
const SHORT_ID: usize = 12;

/// Reads unit and container out of a path below the cgroup2 mount.
///
/// 1. The unit is the deepest component that ends in `.service` or `.scope`; the managers above it
///    (`user@1000.service`) only count when nothing deeper does.
/// 2. The container is the deepest component that is 64 hex digits, with or without a runtime's prefix and
///    `.scope`; LXC and machined name theirs.
pub fn parse(path: &str) -> CgroupName {
    let components = || path.split('/').filter(|component| !component.is_empty());
    CgroupName {
        path: if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        },
        unit: components()
            .rfind(|component| is_unit(component))
            .map(str::to_owned),
        container: components().rev().find_map(container),
    }
}

fn is_unit(component: &str) -> bool {
    [".service", ".scope"]
        .iter()
        .any(|suffix| component.len() > suffix.len() && component.ends_with(suffix))
}

fn container(component: &str) -> Option<String> {
    let bare = component.strip_suffix(".scope").unwrap_or(component);
    if let Some(name) = bare.strip_prefix("lxc.payload.") {
        return Some(name.to_owned()).filter(|name| !name.is_empty());
    }
    if let Some(name) = bare.strip_prefix("machine-").filter(|_| bare != component) {
        return Some(name.replace("\\x2d", "-")).filter(|name| !name.is_empty());
    }
    // docker-ID, cri-containerd-ID, crio-ID, libpod-ID, or the ID alone.
    let id = bare.rsplit('-').next().unwrap_or(bare);
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

impl CgroupName {
    /// The shortest name a person recognises: container, else unit, else path.
    pub fn label(&self) -> &str {
        match (&self.container, &self.unit) {
            (Some(id), _) if id.len() == 64 && id.is_ascii() => &id[..SHORT_ID],
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => &self.path,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn units_and_containers_are_found() {
        let docker = format!("/system.slice/docker-{ID}.scope");
        let docker_cgroupfs = format!("/docker/{ID}");
        let kubernetes = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-{ID}.scope"
        );
        let crio = format!("/kubepods/burstable/pod1/crio-{ID}");
        let podman = format!("/machine.slice/libpod-{ID}.scope/container");
        let unit_of = |prefix: &str| format!("{prefix}{ID}.scope");
        let (docker_unit, cri_unit, pod_unit) =
            (unit_of("docker-"), unit_of("cri-containerd-"), unit_of("libpod-"));
        let table: &[(&str, Option<&str>, Option<&str>, &str)] = &[
            ("/", None, None, "/"),
            ("", None, None, "/"),
            (
                "/system.slice/nginx.service",
                Some("nginx.service"),
                None,
                "nginx.service",
            ),
            (
                "/system.slice/system-getty.slice/getty@tty1.service",
                Some("getty@tty1.service"),
                None,
                "getty@tty1.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-42.scope",
                Some("app-firefox-42.scope"),
                None,
                "app-firefox-42.scope",
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                Some("session-3.scope"),
                None,
                "session-3.scope",
            ),
            (&docker, Some(&docker_unit), Some(ID), &ID[..12]),
            (&docker_cgroupfs, None, Some(ID), &ID[..12]),
            (&kubernetes, Some(&cri_unit), Some(ID), &ID[..12]),
            (&crio, None, Some(ID), &ID[..12]),
            (&podman, Some(&pod_unit), Some(ID), &ID[..12]),
            (
                "/lxc.payload.web1/system.slice/sshd.service",
                Some("sshd.service"),
                Some("web1"),
                "web1",
            ),
            (
                "/machine.slice/machine-deb\\x2d12.scope",
                Some("machine-deb\\x2d12.scope"),
                Some("deb-12"),
                "deb-12",
            ),
            (
                "/machine.slice/systemd-nspawn@box.service",
                Some("systemd-nspawn@box.service"),
                None,
                "systemd-nspawn@box.service",
            ),
            ("/batch/job-17", None, None, "/batch/job-17"),
            ("/.service/lxc.payload.", None, None, "/.service/lxc.payload."),
        ];
        for (path, unit, container, label) in table {
            let name = parse(path);
            assert_eq!(name.unit.as_deref(), *unit, "{path}");
            assert_eq!(name.container.as_deref(), *container, "{path}");
            assert_eq!(name.label(), *label, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_has_a_label(path in "\\PC{0,120}") {
            prop_assert!(!parse(&path).label().is_empty());
        }
    }
}
