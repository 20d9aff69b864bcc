"""The commands: one small file each, arguments in, one call, output."""
