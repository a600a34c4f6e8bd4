# The Vagrantfile in the box minidock/debian-13: boots the kernel directly, since the disk has no boot loader.
Vagrant.configure("2") do |config|
  here = File.dirname(File.expand_path(__FILE__))
  kernel, initrd = File.join(here, "vmlinuz"), File.join(here, "initrd.img")
  words = "root=/dev/vda rw quiet net.ifnames=0 mitigations=off"

  config.ssh.username = "vagrant"
  config.ssh.private_key_path = File.join(here, "id_vm")
  config.ssh.insert_key = false

  config.vm.provider :libvirt do |machine|
    machine.kernel = kernel
    machine.initrd = initrd
    machine.cmd_line = words
    machine.disk_bus = "virtio"
    machine.graphics_type = "none"
    machine.video_type = "none"
  end

  config.vm.provider :qemu do |machine|
    machine.extra_qemu_args = ["-kernel", kernel, "-initrd", initrd, "-append", words]
  end
end
