//! `linuxParameters`, `ulimits`, `systemControls`.

use crate::model::shape::shape;

shape! {
    /// Linux specifics of a container.
    pub struct LinuxParameters {
        /// Capabilities beyond or below the default.
        capabilities: KernelCapabilities,
        /// Devices of the box.
        devices: Vec<Device>,
        /// A small init as PID 1.
        init_process_enabled: bool,
        /// MiB of `/dev/shm`.
        shared_memory_size: i64,
        /// Mounts in memory.
        tmpfs: Vec<Tmpfs>,
        /// MiB of swap.
        max_swap: i64,
        /// 0 to 100.
        swappiness: i64,
    }
}

shape! {
    /// Capabilities, without `CAP_`.
    pub struct KernelCapabilities {
        /// Added.
        add: Vec<String>,
        /// Dropped.
        drop: Vec<String>,
    }
}

shape! {
    /// A device of the box.
    pub struct Device {
        /// On the box.
        host_path: String,
        /// In the container.
        container_path: String,
        /// `read`, `write`, `mknod`.
        permissions: Vec<String>,
    }
}

shape! {
    /// A mount in memory.
    pub struct Tmpfs {
        /// Where.
        container_path: String,
        /// MiB.
        size: i64,
        /// Mount options.
        mount_options: Vec<String>,
    }
}

shape! {
    /// A resource limit.
    pub struct Ulimit {
        /// For example `nofile`.
        name: String,
        /// Soft limit.
        soft_limit: i64,
        /// Hard limit.
        hard_limit: i64,
    }
}

shape! {
    /// A kernel parameter.
    pub struct SystemControl {
        /// For example `net.core.somaxconn`.
        namespace: String,
        /// Its value.
        value: String,
    }
}
