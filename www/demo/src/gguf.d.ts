declare module "*.gguf?url" {
  const address: string;
  export default address;
}
