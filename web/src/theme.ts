import { Button, createTheme, Modal, type MantineColorsTuple } from "@mantine/core";

// One accent, and a grey with a breath of blue. Lanes and states have colours of their own in
// styles.css, because they mean something and must not change with the accent.
const accent: MantineColorsTuple = [
  "#eef2ff", "#dfe6fd", "#bccaf7", "#95abf1", "#7390ec", "#5c7de8", "#3f62dc", "#3454c4", "#2c49ae", "#213c97",
];
const gray: MantineColorsTuple = [
  "#fafafb", "#f4f4f6", "#e9e9ed", "#dcdce2", "#c3c3cc", "#9a9aa6", "#757582", "#565662", "#38383f", "#1d1d21",
];
const dark: MantineColorsTuple = [
  "#d5d5db", "#b2b2bc", "#8f8f9b", "#63636e", "#3b3b43", "#2b2b31", "#202025", "#17171a", "#121214", "#0c0c0e",
];

export const theme = createTheme({
  primaryColor: "accent",
  primaryShade: { light: 6, dark: 6 },
  colors: { accent, gray, dark },
  fontFamily: '"Inter Variable", ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
  fontSizes: { xs: "12px", sm: "13px", md: "14px", lg: "16px", xl: "20px" },
  headings: { fontWeight: "600" },
  defaultRadius: 6,
  cursorType: "pointer",
  respectReducedMotion: true,
  components: {
    Button: Button.extend({ defaultProps: { size: "xs" }, styles: { label: { fontWeight: 500 } } }),
    Modal: Modal.extend({ defaultProps: { centered: false, overlayProps: { backgroundOpacity: 0.4 }, transitionProps: { duration: 80 }, closeButtonProps: { "aria-label": "Close" } } }),
    Notification: { defaultProps: { closeButtonProps: { "aria-label": "Close" } } },
    TextInput: { defaultProps: { size: "sm" } },
    PasswordInput: { defaultProps: { size: "sm" } },
    Select: { defaultProps: { size: "sm" } },
    Textarea: { defaultProps: { size: "sm" } },
  },
});
