"""Widgets of the modules. The only folder that imports qt; nothing below it imports this one."""
